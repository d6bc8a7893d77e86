"""Streams events to any number of readers: one poll of the store serves all of them.

A reader reads the store until it has caught up; then it takes new events from a bounded buffer that the hub
fills. If the buffer overflows, the reader reads the store again from the last position it yielded. So a slow
reader uses bounded memory, and each reader gets every event exactly once.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar
from uuid import UUID

from understudy.domain.errors import ServiceUnavailable, ValidationError
from understudy.domain.ids import Kind
from understudy.envelopes.events import EventData
from understudy.sequencer import assign_positions
from understudy.service.credentials import Watched
from understudy.service.event_subscribers import Event, EventScope, EventSubscriber, WorkspaceSubscribers
from understudy.service.executors import shutdown_executors
from understudy.store import Connection, events
from understudy.store.aliases import find
from understudy.store.engine import AnyRow, Store
from understudy.telemetry.outages import OutageLog

log = logging.getLogger(__name__)

#: Seconds between polls while there are readers; a poll without new events is one query per workspace.
POLL_INTERVAL_S = 0.25
#: Maximum events of one poll per workspace, and of one page of a reader that catches up.
PAGE = 200
#: Seconds without an event after which a reader gets an empty list as a sign of life.
HEARTBEAT_S = 10.0
#: Concurrent page reads of all readers together; limits the store connections that they use.
READS_AT_A_TIME = 2
#: Timeout of a read in seconds, queue time included.
READ_TIMEOUT_S = 15
#: Pause of a reader in seconds while the store is unavailable.
UNAVAILABLE_RETRY_S = 1.0
#: Maximum transactions per poll that assign positions.
_SEQUENCER_TRANSACTIONS = 10

Result = TypeVar("Result")


class _Found(NamedTuple):
    """The new events of one workspace, each with the ids of its participant, study and ask."""

    position: int
    events: Sequence[tuple[Event, frozenset[UUID]]] = ()


class EventHub:
    """Serves all readers of a process. Belongs to one event loop."""

    def __init__(self, store: Store, max_readers: int) -> None:
        self._store = store
        self._max_readers = max_readers
        self._count = 0
        self._workspaces: dict[UUID, WorkspaceSubscribers] = {}
        self._poll_task: asyncio.Task[None] | None = None
        # Polls have a thread of their own: readers that catch up must not delay the others.
        self._poll_thread = ThreadPoolExecutor(1, "events-poll")
        self._reads = ThreadPoolExecutor(READS_AT_A_TIME, "events-read")
        self._ending = asyncio.Event()
        self._outages = OutageLog(log, "store")
        #: Reads of streams that catch up, apart from the polls: one may succeed while the other fails.
        self._page_outages = OutageLog(log, "store")

    @property
    def readers(self) -> int:
        """Returns the number of open readers."""
        return self._count

    def close_streams(self) -> None:
        """Ends every stream, later ones included; for the shutdown of the process."""
        self._ending.set()
        for workspace in self._workspaces.values():
            for readers in workspace.readers.values():
                for reader in readers:
                    reader.wake_event.set()

    async def close(self) -> None:
        """Ends all streams and the polling. Start no stream after it."""
        self.close_streams()
        if self._poll_task is not None:
            self._poll_task.cancel()
            await asyncio.wait({self._poll_task})
        await shutdown_executors(self._poll_thread, self._reads)

    async def find(self, workspace_id: UUID, refs: Mapping[Kind, str | None], after: int) -> EventScope:
        """Returns the scope that `refs` names; exactly one of them must be set.

        Raises NotFound, ServiceUnavailable, ValidationError (also if no event has reached `after` yet).
        """
        names = [f"{kind.name.lower()}_id" for kind in refs]
        named = [(kind, ref) for kind, ref in refs.items() if ref is not None]
        if len(named) != 1:
            raise ValidationError(f"Give exactly one of {', '.join(names)}; {len(named) or 'none'} were given.")
        ((kind, ref),) = named

        def find_scope(connection: Connection) -> EventScope:
            row = find(connection, workspace_id, kind, ref, f"{kind.name.lower()}_id")
            if after > (newest := events.last_position(connection, workspace_id)):
                raise ValidationError(
                    f"Last-Event-ID is {after}, but the newest event is {newest}.",
                    suggestions=("Leave it out to read from the beginning.",),
                )
            return EventScope(workspace_id, kind, row.id)

        return await self._read(find_scope)

    async def read(self, scope: EventScope, after: int) -> AsyncGenerator[Sequence[Event]]:
        """Yields the events of `scope` after position `after` that were committed before the call, then ends.

        Yields an empty sequence first, and while the store is unavailable. Raises ServiceUnavailable, before
        it yields, if the stream cannot start.
        """
        with self._reserve_slot():
            await self._in_thread(lambda: assign_positions(self._store, wait_for_lock=True))
            yield ()
            has_more = True
            while has_more:
                batch, has_more = await self._page_or_pause(scope, after)
                after = batch[-1].position if batch else after
                yield batch

    async def follow(
        self, scope: EventScope, after: int, watched: Watched | None = None
    ) -> AsyncGenerator[Sequence[Event]]:
        """Yields all events of `scope` after position `after`, later ones included, in order, each once.

        Yields an empty sequence first, and after HEARTBEAT_S without an event. Ends when `close_streams` is
        called, or when the credential of `watched` ends. While the store is unavailable, it yields no events
        and loses none. Raises ServiceUnavailable, before it yields, if there are too many readers.
        """
        clock = asyncio.get_running_loop().time
        with self._reserve_slot(), self._enter(scope) as reader:
            yield ()
            yielded_at = clock()
            behind = True
            if watched is not None:
                watched.when_over(reader.wake_event.set)
            while not self._ending.is_set() and not (watched and watched.is_over):
                if behind:
                    # From now on the hub buffers new events; the read below returns the earlier ones.
                    reader.reset()
                    batch, behind = await self._page_or_pause(scope, after)
                else:
                    if not reader.buffer:
                        await reader.wait(yielded_at + HEARTBEAT_S - clock())
                    batch, behind = reader.take(after), reader.missed
                if batch or clock() >= yielded_at + HEARTBEAT_S:
                    after = batch[-1].position if batch else after
                    yield batch
                    del batch
                    yielded_at = clock()

    # -- one reader ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reserve_slot(self) -> Iterator[None]:
        if self._count >= self._max_readers or self._ending.is_set():
            raise ServiceUnavailable(
                f"The server already has the maximum of {self._max_readers} event streams. Try again later."
                if not self._ending.is_set()
                else "The server is shutting down."
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    @contextlib.contextmanager
    def _enter(self, scope: EventScope) -> Iterator[EventSubscriber]:
        reader = EventSubscriber()
        workspace = self._workspaces.setdefault(scope.workspace_id, WorkspaceSubscribers())
        workspace.readers[scope.id].add(reader)
        if self._poll_task is None:
            self._poll_task = asyncio.create_task(self._poll_loop())
        try:
            yield reader
        finally:
            workspace.readers[scope.id].discard(reader)
            if not workspace.readers[scope.id]:
                del workspace.readers[scope.id]
            if not workspace.readers:
                del self._workspaces[scope.workspace_id]

    async def _page_or_pause(self, scope: EventScope, after: int) -> tuple[Sequence[Event], bool]:
        """Returns the next page, and whether more may follow; empty while the store is unavailable."""

        def read(connection: Connection) -> tuple[list[Event], bool]:
            of = (scope.kind, scope.id)
            rows, has_more = events.events_after(connection, scope.workspace_id, after, PAGE, of=of)
            return [_to_event(row) for row in rows], has_more

        try:
            page, has_more = await self._read(read)
        except ServiceUnavailable as error:
            self._page_outages.failed(error, "an event stream waits")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), UNAVAILABLE_RETRY_S)
            return (), True
        self._page_outages.succeeded()
        return page, has_more

    async def read_store(self, work: Callable[[Connection], Result]) -> Result:
        """Returns the result of a read. Raises ServiceUnavailable, also if the store does not answer in time."""
        return await self._read(work)

    async def _read(self, work: Callable[[Connection], Result]) -> Result:
        def read() -> Result:
            with self._store.read() as connection:
                return work(connection)

        return await self._in_thread(read)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await asyncio.get_running_loop().run_in_executor(self._reads, work)
        except TimeoutError:
            raise ServiceUnavailable("The store did not answer in time. Try again in a moment.") from None

    # -- all of them ---------------------------------------------------------------------------------------

    async def _poll_loop(self) -> None:
        """Polls for new events as long as there are readers."""
        loop = asyncio.get_running_loop()
        while self._workspaces:
            positions = {id_: workspace.position for id_, workspace in self._workspaces.items()}
            has_more = False
            try:
                found, has_more = await loop.run_in_executor(self._poll_thread, self._poll, positions)
            except ServiceUnavailable as error:
                self._outages.failed(error, "event streams wait")
            except Exception:
                # If this task ended, no reader would receive events any more.
                log.exception("polling for events failed; the next poll tries again")
            else:
                self._outages.succeeded()
                self._fan_out(found)
            if not has_more:
                await asyncio.sleep(POLL_INTERVAL_S)
        self._poll_task = None

    def _poll(self, positions: Mapping[UUID, int | None]) -> tuple[dict[UUID, _Found], bool]:
        """Returns the new events of each workspace after its position, and whether there are more."""
        try:
            has_more = assign_positions(self._store, max_transactions=_SEQUENCER_TRANSACTIONS)
        except ServiceUnavailable:
            # Another process may be able to write and assign them.
            has_more = False
        found: dict[UUID, _Found] = {}
        with self._store.read() as connection:
            for id_, position in positions.items():
                if position is None:
                    found[id_] = _Found(events.last_position(connection, id_))
                    continue
                rows, more_follow = events.events_after(connection, id_, position, PAGE)
                has_more = has_more or more_follow
                if rows:
                    found[id_] = _Found(rows[-1].position, [(_to_event(row), _scopes(row)) for row in rows])
        return found, has_more

    def _fan_out(self, found: Mapping[UUID, _Found]) -> None:
        for id_, result in found.items():
            workspace = self._workspaces.get(id_)
            if workspace is None:
                continue
            if workspace.position is None:
                # No poll covered the events before this position: every reader reads the store again.
                for readers in workspace.readers.values():
                    for reader in readers:
                        reader.mark_overflow()
            workspace.position = result.position
            for event, scopes in result.events:
                for scope in scopes:
                    for reader in workspace.readers.get(scope, ()):
                        reader.push(event)


def _scopes(row: AnyRow) -> frozenset[UUID]:
    return frozenset(id_ for id_ in (row.participant_id, row.study_id, row.ask_id) if id_ is not None)


def _to_event(row: AnyRow) -> Event:
    data = EventData.model_validate({**row.data, **row._mapping})
    return Event(row.position, row.kind, data.model_dump_json())
