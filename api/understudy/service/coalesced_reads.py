"""Reads of the store that all who ask at a time share."""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Generic, TypeVar, cast

#: Reads at a time: one that hangs does not hold up all the others.
READS_AT_A_TIME = 2

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


async def run_with_timeout(
    threads: ThreadPoolExecutor, timeout_s: float, work: Callable[..., Found], *args: Any
) -> Found:
    """What `work` finds in one of `threads`. Raises TimeoutError when that takes longer, its turn included.

    What is there in time counts, however late this loop comes to look at it: thousands may have come at once.
    """
    reading = asyncio.get_running_loop().run_in_executor(threads, copy_context().run, work, *args)
    # Whoever gives up does not hear how it ended.
    reading.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait([reading], timeout=timeout_s)
    if not reading.done():
        raise TimeoutError
    return reading.result()


class CoalescedReads(Generic[Key, Found]):
    """Whoever asks while reads are under way shares the next one with all others who do.

    Thousands who ask at once are a few reads, none older than the question it answers: nothing is kept.
    Belongs to one event loop.
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
        """`read` finds something for each key, or why there is nothing, in one of `threads`. It is asked for
        keys until their sizes come to `most`, and given up after `timeout_s`."""
        self._read = read
        self._threads = threads
        self._most = most
        self._timeout_s = timeout_s
        self._size_of = size_of
        self._asked: dict[Key, asyncio.Future[Found]] = {}
        #: Those that read. Whoever finds nothing to do any more leaves at once: who asks then needs another.
        self._at_work: set[asyncio.Task[None]] = set()

    async def find(self, key: Key) -> Found:
        """What was found for `key`. Raises that when it is an exception, and what the read raised.

        That may be TimeoutError: nobody waits for much longer than for two reads. Who gives up takes nothing
        from the others.
        """
        if (asked := self._asked.get(key)) is None:
            asked = self._asked[key] = asyncio.get_running_loop().create_future()
            # All may have given up before it failed; then nobody is left to be told.
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
            if len(self._at_work) < READS_AT_A_TIME:
                self._at_work.add(asyncio.create_task(self._read_loop()))
        return await asyncio.shield(asked)

    async def _read_loop(self) -> None:
        try:
            while now := self._take():
                await self._read_batch(now)
        finally:
            self._at_work.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _read_batch(self, now: dict[Key, asyncio.Future[Found]]) -> None:
        found: Mapping[Key, Found | Exception]
        try:
            found = await run_with_timeout(self._threads, self._timeout_s, self._read, list(now))
        except Exception as error:  # noqa: BLE001 - it is told to all who asked
            found = dict.fromkeys(now, error)
        for key, asked in now.items():
            told = found[key]
            if isinstance(told, Exception):
                asked.set_exception(told)
            else:
                asked.set_result(told)

    def _take(self) -> dict[Key, asyncio.Future[Found]]:
        """Those who asked first, as many as one read may be for. Nobody joins these any more."""
        taken: dict[Key, asyncio.Future[Found]] = {}
        size = 0
        for key in list(self._asked):
            size += self._size_of(key)
            if taken and size > self._most:
                break
            taken[key] = self._asked.pop(key)
        return taken
