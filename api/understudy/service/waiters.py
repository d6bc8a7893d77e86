"""Waits for participants to become terminal without holding a thread or a transaction."""

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
from understudy.telemetry.outages import OutageLog

log = logging.getLogger(__name__)

#: Seconds between reads of all awaited participants: notifications may be lost.
POLL_INTERVAL_S = 2.0
#: Concurrent reads of all waiters together; limits the store connections taken from dispatch and cancel.
MAX_CONCURRENT_READS = 4
#: Maximum participants of one read.
CHECK_BATCH_SIZE = 1_000
#: Timeout of a read in seconds, queue time included: while the store hangs, reads queue up.
READ_TIMEOUT_S = 15
#: Pause in seconds before the next attempt to subscribe to notifications.
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
        self.remaining = set(ids)
        self.done: dict[UUID, AnyRow] = {}
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class WaiterRegistry:
    """Serves all waiters of a process with one subscription to notifications and shared store reads.

    Belongs to one event loop.
    """

    def __init__(
        self,
        notices_url: str,
        read_terminal: Callable[[Sequence[UUID]], Mapping[UUID, AnyRow]],
        find: Callable[[Sequence[ParticipantRefs]], Mapping[ParticipantRefs, Sequence[AnyRow] | Exception]],
        states: Callable[[Sequence[ParticipantIds]], Mapping[ParticipantIds, Sequence[AnyRow] | Exception]],
    ) -> None:
        """`read_terminal` reads the states of the given participants that are terminal. Without a URL there
        are no notifications: it runs only every POLL_INTERVAL_S. `find` resolves the refs of callers, and
        `states` reads the current states for waits that have ended."""
        self._notices_url = notices_url
        self._read_terminal = read_terminal
        self._waits: dict[UUID, set[_Waiter]] = defaultdict(set)
        #: Participants that the next read checks.
        self._notified: set[UUID] = set()
        self._wake_event = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT_READS, "waiting")
        bounds: Any = {"most": CHECK_BATCH_SIZE, "timeout_s": READ_TIMEOUT_S / 2}
        self._named = CoalescedReads(find, self._threads, **bounds, size_of=lambda named: len(named.refs))
        self._states = CoalescedReads(states, self._threads, **bounds, size_of=lambda known: len(known.ids))
        self._ending = False
        self._store_outages = OutageLog(log, "store")
        self._notice_outages = OutageLog(log, "notifications")
        #: Number of calls that are waiting.
        self.waiters = 0

    @property
    def awaited_count(self) -> int:
        """Returns the number of participants that calls are waiting for."""
        return len(self._waits)

    def open(self) -> None:
        """Starts the subscription and the reads; call it on the event loop."""
        loops = [self._check_loop(), self._poll_loop()]
        loops += [self._listen_loop()] if self._notices_url else []
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    def end_all_waits(self) -> None:
        """Ends every wait, later ones included, as if it had timed out; for the shutdown of the process."""
        self._ending = True
        for waits in self._waits.values():
            for wait in waits:
                wait.end()

    async def close(self) -> None:
        """Stops the subscription and the reads. Start no wait after it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await shutdown_executors(self._threads)

    async def read(self, work: Callable[[], Result]) -> Result:
        """Runs `work`, a store read for waiters, in the registry's own threads; returns its result.

        Raises ServiceUnavailable after READ_TIMEOUT_S.
        """
        with _translate_timeout():
            return await run_with_timeout(self._threads, READ_TIMEOUT_S, work)

    async def find(self, workspace_id: UUID, refs: Sequence[str]) -> Sequence[AnyRow]:
        """Returns `(id, alias)` of the named participants, each once, in order, from a coalesced read.

        Raises NotFound, ValidationError, and ServiceUnavailable if the store does not answer in time.
        """
        with _translate_timeout():
            return await self._named.find(ParticipantRefs(workspace_id, tuple(refs)))

    async def states(self, workspace_id: UUID, ids: Sequence[UUID]) -> Sequence[AnyRow]:
        """Returns the current states of those of `ids` that are this workspace's, from a coalesced read.

        Raises ServiceUnavailable if the store does not answer in time.
        """
        with _translate_timeout():
            return await self._states.find(ParticipantIds(workspace_id, tuple(ids)))

    async def wait_until_terminal(self, ids: Sequence[UUID], timeout_s: float) -> Mapping[UUID, AnyRow]:
        """Returns the terminal states once all of `ids` are terminal, or those reached after `timeout_s`.

        Terminal states are final and need no second read. Participants are read at once, on a notification,
        and every POLL_INTERVAL_S. Cancelling the caller ends only the wait.
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
                await wait.ended
        except TimeoutError:
            pass
        finally:
            self.waiters -= 1
            for id_ in wait.remaining:
                self._remove_waiter(id_, wait)
        return wait.done

    def _remove_waiter(self, id_: UUID, wait: _Waiter) -> None:
        waits = self._waits[id_]
        waits.discard(wait)
        if not waits:
            del self._waits[id_]

    async def _check_loop(self) -> None:
        while True:
            await self._wake_event.wait()
            # Cleared before the read: a notification that arrives during it triggers the next read.
            self._wake_event.clear()
            notified, self._notified = self._notified & self._waits.keys(), set()
            for batch in chunks(list(notified), CHECK_BATCH_SIZE):
                await self._check(batch)

    async def _poll_loop(self) -> None:
        """Reads all awaited participants every POLL_INTERVAL_S; notified ones never queue behind them."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            for batch in chunks(list(self._waits), CHECK_BATCH_SIZE):
                await self._check(batch)

    async def _check(self, ids: Sequence[UUID]) -> None:
        try:
            terminal = await self.read(lambda: self._read_terminal(ids))
        except Exception as error:  # noqa: BLE001 - the next read tries again; the rows are not affected
            self._store_outages.failed(error, "the waits continue")
            return
        self._store_outages.succeeded()
        for id_, state in terminal.items():
            for wait in list(self._waits.get(id_, ())):
                wait.remaining.discard(id_)
                wait.done[id_] = state
                self._remove_waiter(id_, wait)
                if not wait.remaining:
                    wait.end()

    async def _listen_loop(self) -> None:
        while True:
            try:
                async for ids in subscribe(self._notices_url):
                    self._notice_outages.succeeded()
                    self.notify(ids)
            except (redis.RedisError, OSError, ValueError) as error:
                self._notice_outages.failed(error, "waits poll the store")
            await asyncio.sleep(_RECONNECT_S)

    def notify(self, ids: Collection[UUID]) -> None:
        """Has these participants read soon; without ids, notifications may be lost: all are read."""
        # Notifications name all participants; only the awaited ones matter here.
        if notified := self._waits.keys() & set(ids) if ids else self._waits.keys():
            self._notified.update(notified)
            self._wake_event.set()


@contextlib.contextmanager
def _translate_timeout() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise ServiceUnavailable("The store did not answer in time. Wait again in a moment.") from None
