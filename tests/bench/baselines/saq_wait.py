"""saq: jobs that wait, queued, then run by one worker process, all at once.

Takes `{"broker_url", "count", "wait_s"}`; prints `{"took_s", "peak_memory_mb"}`: the time is from the first
job's start to the last one's end.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
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


def peak_memory_mb() -> float:
    # Not `getrusage`: that one remembers who started it, too.
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


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
    told = {"took_s": max(ended) - min(started), "peak_memory_mb": peak_memory_mb()}
    print(json.dumps(told), flush=True)  # noqa: T201
    await worker.stop()
    working.cancel()


asyncio.run(main())
