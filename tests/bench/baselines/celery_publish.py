"""Bare Celery: tasks published one after the other by `apply_async`.

Takes `{"broker_url", "count"}`; prints `{"took_s"}`.
"""

import json
import sys
import time

import redis
from celery import Celery

asked = json.loads(sys.argv[1])
client = redis.Redis.from_url(asked["broker_url"])
app = Celery("bare", broker=asked["broker_url"])
app.conf.task_ignore_result = True


@app.task
def nothing(number: str) -> None: ...


# A connection is made once.
nothing.apply_async(("0",))
began = time.monotonic()
for number in range(asked["count"]):
    nothing.apply_async((str(number),))
took_s = time.monotonic() - began
client.flushall()
print(json.dumps({"took_s": took_s}), flush=True)  # noqa: T201
