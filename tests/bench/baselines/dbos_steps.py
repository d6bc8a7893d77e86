"""DBOS: steps per second of workflows whose steps do nothing, in one process.

Takes `{"database_url", "workflows", "steps", "wal"}`; prints `{"steps_per_s"}`.
"""

import json
import sqlite3
import sys
import time

from dbos import DBOS, DBOSConfig

asked = json.loads(sys.argv[1])
url = asked["database_url"]
if asked.get("wal"):
    # A property of the file: whoever opens it has it.
    sqlite3.connect(url.removeprefix("sqlite:///")).execute("PRAGMA journal_mode = WAL")
DBOS(config=DBOSConfig(name="bench", system_database_url=url, run_admin_server=False, log_level="ERROR"))


@DBOS.step()
def step(index: int) -> int:
    return index


@DBOS.workflow()
def walk(steps: int) -> int:
    for index in range(steps):
        step(index)
    return steps


DBOS.launch()
# What happens once only is not counted.
DBOS.start_workflow(walk, 1).get_result()
began = time.monotonic()
handles = [DBOS.start_workflow(walk, asked["steps"]) for _ in range(asked["workflows"])]
for handle in handles:
    handle.get_result()
took_s = time.monotonic() - began
print(json.dumps({"steps_per_s": asked["workflows"] * asked["steps"] / took_s}), flush=True)  # noqa: T201
DBOS.destroy()
