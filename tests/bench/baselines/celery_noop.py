"""Bare Celery: tasks that do nothing, queued, then run by one worker process with the threads pool.

Takes `{"broker_url", "count", "concurrency"}`; prints `{"took_s"}`, from the first start to the last end.
"""

import json
import os
import sys
import threading
import time

import redis
from celery import Celery

asked = json.loads(sys.argv[1])
redis.Redis.from_url(asked["broker_url"]).flushall()
app = Celery("bare", broker=asked["broker_url"])
app.conf.update(task_ignore_result=True, worker_redirect_stdouts=False)
ran: list[float] = []


@app.task
def nothing() -> None:
    ran.append(time.monotonic())


def wait() -> None:
    while len(ran) < asked["count"]:
        time.sleep(0.05)
    print(json.dumps({"took_s": max(ran) - min(ran)}), flush=True)  # noqa: T201
    os._exit(0)


for _ in range(asked["count"]):
    nothing.delay()
threading.Thread(target=wait, daemon=True).start()
app.worker_main(["worker", "--pool=threads", f"--concurrency={asked['concurrency']}", "--loglevel=ERROR"])
