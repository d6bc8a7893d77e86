"""Waiting for participants to become terminal, without keeping a thread or a transaction."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import redis

from understudy.domain.errors import ServiceUnavailable
from understudy.queue.notifications import subscribe
from understudy.service.coalesced_reads import CoalescedReads, run_with_timeout
from understudy.service.executors import shutdown_executors
from understudy.store.engine import AnyRow, chunks

log = logging.getLogger(__name__)

#: How often everybody who is waited for is looked at: notices are hints and may be lost.
POLL_INTERVAL_S = 2.0
#: Reads at a time, of all waiters together: so many store connections they take from dispatch and cancel.
MAX_CONCURRENT_READS = 4
#: Participants that one read looks at.
CHECK_BATCH_SIZE = 1_000
#: So long a read may take, with its turn: while the store hangs, those before it take theirs.
READ_TIMEOUT_S = 15
#: Pause before the broker is asked again for notices.
_RECONNECT_S = 1.0

Result = TypeVar("Result")


class ParticipantRefs(NamedTuple):
    """Participants as a caller names them, by ids or aliases."""

    workspace_id: UUID
    refs: tuple[str, ...]


class ParticipantIds(NamedTuple):
    """Participants that were found in a workspace."""

    workspace_id: UUID
    ids: tuple[UUID, ...]


class _Waiter:
    """One call that waits."""

    def __init__(self, ids: Sequence[UUID]) -> None:
        self.left = set(ids)
        self.done: dict[UUID, AnyRow] = {}
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


class WaiterRegistry:
    """All waiters of a process: one subscription to notices, one look at the store for all of them at a time.

    Belongs to one event loop.
    """

    def __init__(
        self,
        notices_url: str,
        look: Callable[[Sequence[UUID]], Mapping[UUID, AnyRow]],
        find: Callable[[Sequence[ParticipantRefs]], Mapping[ParticipantRefs, Sequence[AnyRow] | Exception]],
        states: Callable[[Sequence[ParticipantIds]], Mapping[ParticipantIds, Sequence[AnyRow] | Exception]],
    ) -> None:
        """`look` reads the store: those of these participants that are terminal, with their state. Without a
        URL there are no notices, and it is asked every POLL_INTERVAL_S. `find` reads whom callers name, and
        `states` how those stand whose wait is over."""
        self._notices_url = notices_url
        self._look = look
        self._waits: dict[UUID, set[_Waiter]] = defaultdict(set)
        #: Who is to be looked at next.
        self._told: set[UUID] = set()
        self._bell = asyncio.Event()
        self._at_work: list[asyncio.Task[None]] = []
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT_READS, "waiting")
        bounds: Any = {"most": CHECK_BATCH_SIZE, "timeout_s": READ_TIMEOUT_S / 2}
        self._named = CoalescedReads(find, self._threads, **bounds, size_of=lambda named: len(named.refs))
        self._states = CoalescedReads(states, self._threads, **bounds, size_of=lambda known: len(known.ids))
        self._ending = False
        #: How many calls wait just now.
        self.waiters = 0

    @property
    def awaited_count(self) -> int:
        """For how many participants somebody waits just now."""
        return len(self._waits)

    def open(self) -> None:
        """Begin to listen and to look; call it on the loop."""
        works = [self._check_notified(), self._poll_all()]
        works += [self._listen()] if self._notices_url else []
        self._at_work = [asyncio.create_task(work) for work in works]

    def end_all_waits(self) -> None:
        """End every wait, those to come too, as if its time were up: this process is told to go."""
        self._ending = True
        for waits in self._waits.values():
            for wait in waits:
                wait.end()

    async def close(self) -> None:
        """Stop listening and looking. Nobody may wait any more."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await shutdown_executors(self._threads)

    async def read(self, work: Callable[[], Result]) -> Result:
        """Do what reads the store for a waiter in a thread of this room: others never wait behind it.

        Raises ServiceUnavailable when it is not done in READ_TIMEOUT_S.
        """
        with _translate_timeout():
            return await run_with_timeout(self._threads, READ_TIMEOUT_S, work)

    async def find(self, workspace_id: UUID, refs: Sequence[str]) -> Sequence[AnyRow]:
        """`(id, alias)` of whom a caller names, each once, in order, by a read shared with others who begin.

        Raises NotFound, ValidationError, and ServiceUnavailable when the store does not answer in time.
        """
        with _translate_timeout():
            return await self._named.find(ParticipantRefs(workspace_id, tuple(refs)))

    async def states(self, workspace_id: UUID, ids: Sequence[UUID]) -> Sequence[AnyRow]:
        """How those of `ids` stand now that are this workspace's, by a read shared with others who ask.

        Raises ServiceUnavailable when the store does not answer in time.
        """
        with _translate_timeout():
            return await self._states.find(ParticipantIds(workspace_id, tuple(ids)))

    async def wait_until_terminal(self, ids: Sequence[UUID], timeout_s: float) -> Mapping[UUID, AnyRow]:
        """The states of those that are done: as soon as all of `ids` are, or when `timeout_s` passes first.

        What is terminal stays as it is: nobody need read it again. All are looked at at once, when a notice
        tells of them, and every POLL_INTERVAL_S. Cancelling the caller ends the wait and nothing else.
        """
        wait = _Waiter(ids)
        if self._ending or not ids:
            return {}
        self.waiters += 1
        for id_ in ids:
            self._waits[id_].add(wait)
        self.notify(ids)
        try:
            async with asyncio.timeout(timeout_s):
                await wait.over
        except TimeoutError:
            pass
        finally:
            self.waiters -= 1
            for id_ in wait.left:
                self._remove_waiter(id_, wait)
        return wait.done

    def _remove_waiter(self, id_: UUID, wait: _Waiter) -> None:
        waits = self._waits[id_]
        waits.discard(wait)
        if not waits:
            del self._waits[id_]

    async def _check_notified(self) -> None:
        while True:
            await self._bell.wait()
            # Cleared before the look: who is told of during it is looked at next.
            self._bell.clear()
            told, self._told = self._told & self._waits.keys(), set()
            for some in chunks(list(told), CHECK_BATCH_SIZE):
                await self._check(some)

    async def _poll_all(self) -> None:
        """From time to time, beside the looks at those who are told of: these never wait behind thousands."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            for some in chunks(list(self._waits), CHECK_BATCH_SIZE):
                await self._check(some)

    async def _check(self, ids: Sequence[UUID]) -> None:
        try:
            done = await self.read(lambda: self._look(ids))
        except Exception as error:  # noqa: BLE001 - the next look may tell; what is waited for is there all the same
            log.info("nobody can tell now who is done, the waits go on: %s", error)
            return
        for id_, state in done.items():
            for wait in list(self._waits.get(id_, ())):
                wait.left.discard(id_)
                wait.done[id_] = state
                self._remove_waiter(id_, wait)
                if not wait.left:
                    wait.end()

    async def _listen(self) -> None:
        while True:
            try:
                async for ids in subscribe(self._notices_url):
                    self.notify(ids)
            except (redis.RedisError, OSError, ValueError) as error:
                log.info("no notices for now, waiters poll: %s", error)
            await asyncio.sleep(_RECONNECT_S)

    def notify(self, ids: Collection[UUID]) -> None:
        """A notice came: these are looked at soon; of nobody: something may have been missed, so all are."""
        # Notices tell of everybody; here only those count for whom somebody waits.
        if told := self._waits.keys() & set(ids) if ids else self._waits.keys():
            self._told.update(told)
            self._bell.set()


@contextlib.contextmanager
def _translate_timeout() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise ServiceUnavailable("The store does not answer in time. Wait again in a moment.") from None
