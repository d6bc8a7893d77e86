"""DBOS: fork a workflow at its last step; how long the call takes, and until the first new step ran.

Takes `{"database_url", "steps"}`; prints `{"call_ms", "first_step_ms"}`, the latter counted from the answer.
"""

import json
import sys
import threading
import time

from dbos import DBOS, DBOSConfig

asked = json.loads(sys.argv[1])
DBOS(
    config=DBOSConfig(
        name="bench", system_database_url=asked["database_url"], run_admin_server=False, log_level="ERROR"
    )
)
ran = threading.Event()


@DBOS.step()
def step(index: int) -> int:
    if index == asked["steps"] - 1:
        ran.set()
    return index


@DBOS.workflow()
def walk(steps: int) -> int:
    for index in range(steps):
        step(index)
    return steps


DBOS.launch()
done = DBOS.start_workflow(walk, asked["steps"])
done.get_result()
ran.clear()
began = time.monotonic()
# Steps count from 1: all but the last are taken over.
DBOS.fork_workflow(done.workflow_id, asked["steps"])
answered = time.monotonic()
assert ran.wait(120), "the fork's first step did not run"
told = {"call_ms": (answered - began) * 1000, "first_step_ms": (time.monotonic() - answered) * 1000}
print(json.dumps(told), flush=True)  # noqa: T201
DBOS.destroy()
