"""Events as they come, for any number of readers: one look at the store serves them all.

A reader reads the store until it has caught up; from then on it is handed what the hub finds. That is kept in
a buffer of bounded size: when it is full, the reader goes back to reading the store from the last position it
gave out. So a slow reader holds no memory, and nobody misses an event or gets it twice.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar
from uuid import UUID

from understudy.domain.errors import AuthFailed, ServiceUnavailable, ValidationError
from understudy.domain.ids import Kind
from understudy.envelopes.events import EventData
from understudy.sequencer import give_positions
from understudy.service.event_subscribers import Event, EventScope, EventSubscriber, WorkspaceSubscribers
from understudy.service.executors import shutdown_executors
from understudy.store import Connection, events
from understudy.store.aliases import find
from understudy.store.engine import AnyRow, Store

log = logging.getLogger(__name__)

#: How often the hub looks while there are readers; a look that finds nothing is one query for each workspace.
POLL_INTERVAL_S = 0.25
#: Events of one look, and of one page of a reader that catches up.
PAGE = 200
#: After so long without an event a reader is handed an empty list, as a sign of life.
HEARTBEAT_S = 10.0
#: Pages read at a time, of all readers that catch up together: so many store connections they may take.
READS_AT_A_TIME = 2
#: So long a read may take, with its turn.
READ_TIMEOUT_S = 15
#: Pause of a reader whom the store did not answer.
UNAVAILABLE_RETRY_S = 1.0
#: Transactions of one look that give positions.
_SEQUENCER_TRANSACTIONS = 10

Result = TypeVar("Result")


class _Found(NamedTuple):
    """What a look found in one workspace: the events, each with what it is an event of."""

    position: int
    events: Sequence[tuple[Event, frozenset[UUID]]] = ()


class EventHub:
    """All readers of a process. Belongs to one event loop."""

    def __init__(self, store: Store, most_readers: int) -> None:
        self._store = store
        self._most = most_readers
        self._count = 0
        self._workspaces: dict[UUID, WorkspaceSubscribers] = {}
        self._looking: asyncio.Task[None] | None = None
        # Looks have a thread of their own: who catches up must not delay those who have.
        self._looks = ThreadPoolExecutor(1, "events-look")
        self._reads = ThreadPoolExecutor(READS_AT_A_TIME, "events-read")
        self._ending = asyncio.Event()

    @property
    def readers(self) -> int:
        """How many there are just now."""
        return self._count

    def close_streams(self) -> None:
        """End every reader's stream, those to come too: this process is told to go."""
        self._ending.set()
        for workspace in self._workspaces.values():
            for readers in workspace.readers.values():
                for reader in readers:
                    reader.wake_event.set()

    async def close(self) -> None:
        """Stop looking. Nobody may read any more."""
        self.close_streams()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await shutdown_executors(self._looks, self._reads)

    async def find(self, workspace_id: UUID, refs: Mapping[Kind, str | None], after: int) -> EventScope:
        """What exactly one of `refs` names, of which there are events up to `after` at least.

        Raises ValidationError, NotFound, ServiceUnavailable.
        """
        names = [f"{kind.name.lower()}_id" for kind in refs]
        given = [(kind, ref) for kind, ref in refs.items() if ref is not None]
        if len(given) != 1:
            raise ValidationError(
                f"Give exactly one of {', '.join(names)}; {len(given) or 'none'} were given."
            )
        ((kind, ref),) = given

        def look_up(connection: Connection) -> EventScope:
            row = find(connection, workspace_id, kind, ref, f"{kind.name.lower()}_id")
            if after > (newest := events.last_position(connection, workspace_id)):
                raise ValidationError(
                    f"Last-Event-ID is {after}, but the newest event is {newest}.",
                    suggestions=("Leave it out to read from the beginning.",),
                )
            return EventScope(workspace_id, kind, row.id)

        return await self._read(look_up)

    async def read(self, scope: EventScope, after: int) -> AsyncGenerator[Sequence[Event]]:
        """All events of `scope` after the position `after` that were committed before the call, then the end.

        What it yields first is empty, and so is what it yields while the store is unavailable. Raises
        ServiceUnavailable, before anything else, when that cannot be begun.
        """
        with self._reserve_slot():
            await self._in_thread(lambda: give_positions(self._store, patient=True))
            yield ()
            more = True
            while more:
                batch, more = await self._page_or_pause(scope, after)
                after = batch[-1].position if batch else after
                yield batch

    async def follow(
        self, scope: EventScope, after: int, allowed: Callable[[Connection], object]
    ) -> AsyncGenerator[Sequence[Event]]:
        """All events of `scope` after the position `after`, those to come too, in order, each once.

        Yields an empty sequence first, and after HEARTBEAT_S without an event. Ends when `close_streams` is
        called, or when `allowed`, which it calls from time to time, raises AuthFailed. While the store is
        unavailable, it yields no events and loses none. Raises ServiceUnavailable, before it yields, if there
        are too many readers.
        """
        clock = asyncio.get_running_loop().time
        with self._reserve_slot(), self._enter(scope) as reader:
            yield ()
            heard = asked = clock()
            behind = True
            while not self._ending.is_set():
                if clock() >= asked + HEARTBEAT_S:
                    asked = clock()
                    if not await self._is_allowed(allowed):
                        return
                if behind:
                    # From here on the hub keeps what is new; what it found before is there to be read.
                    reader.reset()
                    batch, behind = await self._page_or_pause(scope, after)
                else:
                    if not reader.buffer:
                        await reader.wait(min(heard, asked) + HEARTBEAT_S - clock())
                    batch, behind = reader.take(after), reader.missed
                if batch or clock() >= heard + HEARTBEAT_S:
                    after = batch[-1].position if batch else after
                    yield batch
                    del batch
                    heard = clock()

    # -- one reader ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reserve_slot(self) -> Iterator[None]:
        if self._count >= self._most or self._ending.is_set():
            raise ServiceUnavailable(
                f"No more than {self._most} streams of events are open at a time on this server."
                if not self._ending.is_set()
                else "The server goes down just now."
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
        if self._looking is None:
            self._looking = asyncio.create_task(self._poll_loop())
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

        def read(connection: Connection) -> list[Event]:
            of = (scope.kind, scope.id)
            rows = events.events_after(connection, scope.workspace_id, after, PAGE, of=of)
            return [_to_event(row) for row in rows]

        try:
            page = await self._read(read)
        except ServiceUnavailable:
            log.info("store unavailable; a reader of events waits")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), UNAVAILABLE_RETRY_S)
            return (), True
        return page, len(page) == PAGE

    async def _is_allowed(self, allowed: Callable[[Connection], object]) -> bool:
        try:
            await self._read(allowed)
        except AuthFailed:
            return False
        except ServiceUnavailable:
            # Nobody can tell just now.
            return True
        return True

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
            raise ServiceUnavailable("The store does not answer in time. Ask again in a moment.") from None

    # -- all of them ---------------------------------------------------------------------------------------

    async def _poll_loop(self) -> None:
        """Look for what is new as long as there are readers."""
        loop = asyncio.get_running_loop()
        while self._workspaces:
            positions = {id_: workspace.position for id_, workspace in self._workspaces.items()}
            more = False
            try:
                found, more = await loop.run_in_executor(self._looks, self._poll, positions)
            except ServiceUnavailable:
                log.info("store unavailable; readers of events wait")
            except Exception:
                # Without this task nobody would be handed anything any more.
                log.exception("a look for events failed; the next one may not")
            else:
                self._fan_out(found)
            if not more:
                await asyncio.sleep(POLL_INTERVAL_S)
        self._looking = None

    def _poll(self, positions: Mapping[UUID, int | None]) -> tuple[dict[UUID, _Found], bool]:
        """What is new in each workspace after its position, and whether there is more."""
        try:
            more = give_positions(self._store, transactions=_SEQUENCER_TRANSACTIONS)
        except ServiceUnavailable:
            # Others may be able to write, and give them.
            more = False
        found: dict[UUID, _Found] = {}
        with self._store.read() as connection:
            for id_, position in positions.items():
                if position is None:
                    found[id_] = _Found(events.last_position(connection, id_))
                elif rows := events.events_after(connection, id_, position, PAGE):
                    told = [(_to_event(row), _scopes(row)) for row in rows]
                    found[id_] = _Found(rows[-1].position, told)
                    more = more or len(rows) == PAGE
        return found, more

    def _fan_out(self, found: Mapping[UUID, _Found]) -> None:
        for id_, new in found.items():
            workspace = self._workspaces.get(id_)
            if workspace is None:
                continue
            if workspace.position is None:
                # What came before it was found by nobody: whoever is here reads the store once more.
                for readers in workspace.readers.values():
                    for reader in readers:
                        reader.mark_overflow()
            workspace.position = new.position
            for one, scopes in new.events:
                for scope in scopes:
                    for reader in workspace.readers.get(scope, ()):
                        reader.push(one)


def _scopes(row: AnyRow) -> frozenset[UUID]:
    return frozenset(id_ for id_ in (row.participant_id, row.study_id, row.ask_id) if id_ is not None)


def _to_event(row: AnyRow) -> Event:
    data = EventData.model_validate({**row.data, **row._mapping})
    return Event(row.position, row.kind, data.model_dump_json())
