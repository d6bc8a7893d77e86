"""Store reads that concurrent requests share."""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Generic, TypeVar, cast

#: Concurrent reads: one that hangs does not block the others.
READS_AT_A_TIME = 2

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


async def run_with_timeout(
    threads: ThreadPoolExecutor, timeout_s: float, work: Callable[..., Found], *args: Any
) -> Found:
    """Returns the result of `work`, run in `threads`. Raises TimeoutError after `timeout_s`, waits included.

    A result that is ready in time counts, even if a busy event loop checks for it late.
    """
    reading = asyncio.get_running_loop().run_in_executor(threads, copy_context().run, work, *args)
    # Retrieves the exception of an abandoned read; otherwise asyncio logs it.
    reading.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait([reading], timeout=timeout_s)
    if not reading.done():
        raise TimeoutError
    return reading.result()


class CoalescedReads(Generic[Key, Found]):
    """Requests that arrive while reads are in progress share the next read.

    Thousands of concurrent requests cost a few reads. No result is cached: a read always starts after the
    requests that it answers. Belongs to one event loop.
    """

    def __init__(
        self,
        read: Callable[[Sequence[Key]], Mapping[Key, Found | Exception]],
        threads: ThreadPoolExecutor,
        *,
        most: int,
        timeout_s: float,
        size_of: Callable[[Key], int] = lambda _: 1,
    ) -> None:
        """`read` runs in `threads` and returns a result or an exception for each key. One read takes keys up
        to a total size of `most` and fails after `timeout_s` (seconds)."""
        self._read = read
        self._threads = threads
        self._most = most
        self._timeout_s = timeout_s
        self._size_of = size_of
        self._asked: dict[Key, asyncio.Future[Found]] = {}
        #: Tasks that read. A task without further requests ends at once; the next request starts another.
        self._read_tasks: set[asyncio.Task[None]] = set()

    async def find(self, key: Key) -> Found:
        """Returns the result for `key`. Raises the exception that the read returned for it, or raised.

        That may be TimeoutError: a call waits for little longer than two reads. Cancelling one call does not
        affect the others.
        """
        if (asked := self._asked.get(key)) is None:
            asked = self._asked[key] = asyncio.get_running_loop().create_future()
            # Retrieves the exception if all callers were cancelled before the read failed.
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
            if len(self._read_tasks) < READS_AT_A_TIME:
                self._read_tasks.add(asyncio.create_task(self._read_loop()))
        return await asyncio.shield(asked)

    async def _read_loop(self) -> None:
        try:
            while batch := self._take_batch():
                await self._read_batch(batch)
        finally:
            self._read_tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _read_batch(self, batch: dict[Key, asyncio.Future[Found]]) -> None:
        found: Mapping[Key, Found | Exception]
        try:
            found = await run_with_timeout(self._threads, self._timeout_s, self._read, list(batch))
        except Exception as error:  # noqa: BLE001 - every caller receives it
            found = dict.fromkeys(batch, error)
        for key, asked in batch.items():
            result = found[key]
            if isinstance(result, Exception):
                asked.set_exception(result)
            else:
                asked.set_result(result)

    def _take_batch(self) -> dict[Key, asyncio.Future[Found]]:
        """Removes and returns the oldest requests, up to `most`; later ones go into the next read."""
        taken: dict[Key, asyncio.Future[Found]] = {}
        size = 0
        for key in list(self._asked):
            size += self._size_of(key)
            if taken and size > self._most:
                break
            taken[key] = self._asked.pop(key)
        return taken
