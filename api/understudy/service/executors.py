"""Shuts down thread pools that read the store."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

#: Seconds that reads in progress may take to end.
SHUTDOWN_TIMEOUT_S = 2
_POLL_INTERVAL_S = 0.005


async def shutdown_executors(*pools: ThreadPoolExecutor) -> None:
    """Starts no more reads; waits for those in progress, at most SHUTDOWN_TIMEOUT_S if the store hangs.

    Unless a read hangs, all store connections are back in their pool afterwards and can be closed.
    """
    ending = [threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True}, daemon=True) for pool in pools]
    for thread in ending:
        thread.start()
    clock = asyncio.get_running_loop().time
    deadline = clock() + SHUTDOWN_TIMEOUT_S
    while any(thread.is_alive() for thread in ending) and clock() < deadline:  # noqa: ASYNC110 - a thread
        await asyncio.sleep(_POLL_INTERVAL_S)
