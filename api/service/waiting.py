"""Waiting for participants to become terminal, without keeping a thread or a transaction."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

import redis

from api.service.threads import end_threads
from shared.domain.errors import ServiceUnavailable
from shared.notices import listen

log = logging.getLogger(__name__)

#: How often a waiter looks by itself: notices are hints and may be lost.
POLL_INTERVAL_S = 2.0
#: Looks at a time, of all waiters together: so many store connections they take from dispatch and cancel.
LOOKS_AT_A_TIME = 4
#: So long a look may take, with its turn: while the store hangs, those before it take theirs.
READ_TIMEOUT_S = 15
#: From one look that a notice caused to the next: a burst of notices costs one look.
PAUSE_S = 0.05
#: The same while more than so many are waited for: each of them brings a notice.
MANY = 500
PAUSE_FOR_MANY_S = 0.25
#: Pause before the broker is asked again for notices.
_RECONNECT_S = 1.0

Result = TypeVar("Result")


class WaitRoom:
    """All waiters of a process: one subscription to notices, a few threads. Belongs to one event loop."""

    def __init__(self, notices_url: str) -> None:
        """Without a URL there are no notices: waiters look every POLL_INTERVAL_S."""
        self._notices_url = notices_url
        self._bells: dict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._listening: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(LOOKS_AT_A_TIME, "waiting")
        self._ending = False
        #: How many calls wait just now.
        self.waiters = 0

    @property
    def waited_for(self) -> int:
        """For how many participants somebody waits just now."""
        return len(self._bells)

    def open(self) -> None:
        """Begin to listen; call it on the loop."""
        if self._notices_url:
            self._listening = asyncio.create_task(self._listen())

    def end_all(self) -> None:
        """End every wait, those to come too, as if its time were up: this process is told to go."""
        self._ending = True
        self.ring(())

    async def close(self) -> None:
        """Stop listening and looking. Nobody may wait any more."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        await end_threads(self._threads)

    async def read(self, work: Callable[[], Result]) -> Result:
        """Do what reads the store for a waiter in a thread of this room: others never wait behind it.

        Raises ServiceUnavailable when it is not done in READ_TIMEOUT_S.
        """
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            raise ServiceUnavailable("The store does not answer in time. Wait again in a moment.") from None

    async def until_done(
        self, ids: Sequence[UUID], look: Callable[[Sequence[UUID]], Sequence[UUID]], timeout_s: float
    ) -> bool:
        """Return True as soon as all of `ids` are done, False when `timeout_s` passes first.

        `look` reads the store: it is given those not yet known to be done, and returns which of them to ask
        for next time; none when all are done. It is asked at once, after notices about `ids`, and every
        POLL_INTERVAL_S; its connection is back in the pool in between. A look that takes longer than there is
        time does not lengthen the wait. Cancelling the caller ends the wait and nothing else.
        """
        bell = asyncio.Event()
        self.waiters += 1
        for id_ in ids:
            self._bells[id_].add(bell)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._look_until_done(ids, look, bell)
        except TimeoutError:
            return False
        finally:
            self.waiters -= 1
            for id_ in ids:
                self._bells[id_].discard(bell)
                if not self._bells[id_]:
                    del self._bells[id_]

    async def _look_until_done(
        self, left: Sequence[UUID], look: Callable[[Sequence[UUID]], Sequence[UUID]], bell: asyncio.Event
    ) -> bool:
        clock = asyncio.get_running_loop().time
        # The first notice is looked at immediately: most waiters wait for one participant, and get one.
        not_before = clock()
        while not self._ending:
            # Cleared before the look: a notice that comes during it is not lost.
            bell.clear()
            try:
                left = await self.read(lambda ids=left: look(ids))  # type: ignore[misc]
                if not left:
                    return True
            except ServiceUnavailable:
                # Nobody can tell just now; the next look may. What is waited for is there all the same.
                log.info("the store is away; the wait goes on")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), POLL_INTERVAL_S)
                if not self._ending:
                    await asyncio.sleep(not_before - clock())
                not_before = clock() + (PAUSE_S if len(left) <= MANY else PAUSE_FOR_MANY_S)
        return False

    async def _listen(self) -> None:
        while True:
            try:
                async for ids in listen(self._notices_url):
                    self.ring(ids)
            except (redis.RedisError, OSError, ValueError) as error:
                log.info("no notices for now, waiters poll: %s", error)
            await asyncio.sleep(_RECONNECT_S)

    def ring(self, ids: Sequence[UUID]) -> None:
        """A notice came: whoever waits for one of `ids` looks again soon."""
        # A notice about nobody: something may have been missed, so all look.
        for id_ in ids or list(self._bells):
            for bell in self._bells.get(id_, ()):
                bell.set()
