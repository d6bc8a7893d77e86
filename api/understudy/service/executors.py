"""The end of threads that read the store."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

#: Seconds that reads under way may take to end.
SHUTDOWN_TIMEOUT_S = 2
_POLL_INTERVAL_S = 0.005


async def shutdown_executors(*pools: ThreadPoolExecutor) -> None:
    """Begin nothing more, and wait for what is under way; but not for a store that hangs.

    Whoever closes the store's connections right after this finds them all given back.
    """
    ending = [
        threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True}, daemon=True) for pool in pools
    ]
    for thread in ending:
        thread.start()
    clock = asyncio.get_running_loop().time
    deadline = clock() + SHUTDOWN_TIMEOUT_S
    while any(thread.is_alive() for thread in ending) and clock() < deadline:  # noqa: ASYNC110 - a thread
        await asyncio.sleep(_POLL_INTERVAL_S)
