"""saq: jobs that wait, queued, then run by one worker process, all at once.

Takes `{"broker_url", "count", "wait_s"}`; prints `{"took_s", "peak_memory_mb"}`: the time is from the first
job's start to the last one's end.
"""

import asyncio
import json
import resource
import sys
import time
from typing import Any

from saq import Queue, Worker

asked = json.loads(sys.argv[1])
started: list[float] = []
ended: list[float] = []
all_ended = asyncio.Event()


async def wait(_: Any) -> None:
    started.append(time.monotonic())
    await asyncio.sleep(asked["wait_s"])


async def note_end(_: Any) -> None:
    ended.append(time.monotonic())
    if len(ended) == asked["count"]:
        all_ended.set()


async def main() -> None:
    queue = Queue.from_url(asked["broker_url"])
    await queue.connect()
    await queue.redis.flushall()  # type: ignore[attr-defined]
    for _ in range(asked["count"]):
        await queue.enqueue("wait", timeout=60)
    # After a job is finished in the broker, not when its function returns: so it is with ours.
    worker = Worker(queue, [wait], concurrency=asked["count"], after_process=note_end)
    working = asyncio.create_task(worker.start())
    await all_ended.wait()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {"took_s": max(ended) - min(started), "peak_memory_mb": peak_mb}
    print(json.dumps(told), flush=True)  # noqa: T201
    await worker.stop()
    working.cancel()


asyncio.run(main())
