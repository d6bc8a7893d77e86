"""Waiting for participants to become terminal, without keeping a thread or a transaction."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from uuid import UUID

import redis

from shared.domain.errors import ServiceUnavailable
from shared.notices import listen

log = logging.getLogger(__name__)

#: How often a waiter looks by itself: notices are hints and may be lost.
POLL_INTERVAL_S = 2.0
#: Pause before the broker is asked again for notices.
_RECONNECT_S = 1.0


class WaitRoom:
    """One subscription to notices for all waiters of a process. Belongs to one event loop."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._bells: dict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._listening: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to listen; call it on the loop."""
        self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening. Who still waits polls."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})

    async def until(self, ids: Sequence[UUID], done: Callable[[], bool], timeout_s: float) -> bool:
        """Return True as soon as `done()`, False when `timeout_s` passes first.

        `done` reads the store, in a thread: it is asked at once, after each notice about `ids`, and every
        POLL_INTERVAL_S. Cancelling the caller ends the wait and nothing else.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        bell = asyncio.Event()
        for id_ in ids:
            self._bells[id_].add(bell)
        try:
            while True:
                # Cleared before the look: a notice that comes during it is not lost.
                bell.clear()
                try:
                    if await asyncio.to_thread(done):
                        return True
                except ServiceUnavailable:
                    # Nobody can tell just now; the next look may. What is waited for is there all the same.
                    log.info("the store is away; the wait goes on")
                left_s = deadline - loop.time()
                if left_s <= 0:
                    return False
                try:
                    await asyncio.wait_for(bell.wait(), min(POLL_INTERVAL_S, left_s))
                except TimeoutError:
                    continue
        finally:
            for id_ in ids:
                self._bells[id_].discard(bell)
                if not self._bells[id_]:
                    del self._bells[id_]

    async def _listen(self) -> None:
        while True:
            try:
                async for ids in listen(self._broker_url):
                    self._ring(ids)
            except (redis.RedisError, OSError, ValueError) as error:
                log.info("no notices for now, waiters poll: %s", error)
            await asyncio.sleep(_RECONNECT_S)

    def _ring(self, ids: Sequence[UUID]) -> None:
        # A notice about nobody: something may have been missed, so all look.
        for id_ in ids or list(self._bells):
            for bell in self._bells.get(id_, ()):
                bell.set()
