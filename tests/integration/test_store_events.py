"""Positions of events: each once, in order of `seq`, and visible in order, also for late commits."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, select, text, update

from tests.factories import StudyStore, make_ask
from tests.invariants import check_invariants
from tests.parameters import on_postgresql
from tests.servers import wait_until
from understudy import sequencer
from understudy.domain.ids import Kind
from understudy.store import events, stops
from understudy.store.engine import AnyRow, Connection, Store
from understudy.store.events import NewEvent
from understudy.store.schema import Tables

_p = Tables.participant


class EventStore(StudyStore):
    """A study whose participants get events; `ids` are theirs."""

    def __init__(self, store: Store, workspace: str = "acme", count: int = 3) -> None:
        super().__init__(store, workspace)
        self.ids = self.participants(count)

    def events(self, after: int = 0, limit: int = 1000, of: tuple[Kind, UUID] | None = None) -> list[AnyRow]:
        scope = of or (Kind.STUDY, self.study_id)
        return list(self.read(events.events_after, self.workspace_id, after, limit, of=scope)[0])

    def sequence(self, limit: int = 1000) -> int:
        """Assigns positions to up to `limit` events; how many."""
        return int(self.write(events.assign_positions, limit))

    def outbox_size(self) -> int:
        return int(self.read(Connection.scalar, select(func.count()).select_from(Tables.outbox)))

    def check(self, expected: dict[UUID, int]) -> None:
        """Checks that each participant has so many events, with positions and in order of `seq`."""
        sequencer.assign_positions(self.store)
        check_events(self.events(), expected)
        assert self.outbox_size() == 0
        assert not self.read(events.has_unsequenced)


def check_events(rows: Sequence[AnyRow], expected: dict[UUID, int]) -> None:
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    seqs: dict[UUID, list[int]] = defaultdict(list)
    for row in rows:
        seqs[row.participant_id].append(row.seq)
    assert seqs == {id_: list(range(1, count + 1)) for id_, count in expected.items()}


def add_events(connection: Connection, *ids: UUID) -> None:
    """Records one more event of each in one transaction, like a guarded write."""
    raised = update(_p).where(_p.c.id.in_(ids)).values(seq=_p.c.seq + 1).returning(_p.c.id, _p.c.seq)
    rows = connection.execute(raised).all()
    events.record(connection, [NewEvent(row.id, row.seq, "stopped", {}) for row in rows])


@pytest.fixture
def study(store: Store) -> EventStore:
    return EventStore(store)


def test_each_workspace_counts_its_positions_from_1(study: EventStore) -> None:
    other = EventStore(study.store, "other", 5)
    sequencer.assign_positions(study.store)
    study.write(add_events, *study.ids)
    study.write(add_events, other.ids[0])
    study.check(dict.fromkeys(study.ids, 2))
    other.check(dict.fromkeys(other.ids, 1) | {other.ids[0]: 2})
    assert study.read(events.last_position, study.workspace_id) == 6


def test_positions_assigned_in_small_batches_follow_the_order_of_seq(study: EventStore) -> None:
    counts = dict.fromkeys(study.ids, 8)
    for _ in range(7):
        study.write(add_events, *study.ids)
    batches = []
    while len(study.events()) <= 40:
        batches.append(study.sequence(random.randint(1, 4)))
        id_ = random.choice(study.ids)
        study.write(add_events, id_)
        counts[id_] += 1
    assert 1 <= min(batches) <= max(batches) <= 4
    study.check(counts)


def test_events_are_read_in_pages_by_participant_study_and_ask(study: EventStore) -> None:
    ask_id, (first, _) = make_ask(study.store, study.workspace_id)
    sequencer.assign_positions(study.store)
    study.write(add_events, *study.ids, *first)
    sequencer.assign_positions(study.store)

    def read_pages(scope: tuple[Kind, UUID]) -> list[AnyRow]:
        rows: list[AnyRow] = []
        while page := study.events(rows[-1].position if rows else 0, 2, scope):
            rows += page
        return rows

    scopes = {(Kind.STUDY, study.study_id): 6, (Kind.ASK, ask_id): 6, (Kind.PARTICIPANT, study.ids[1]): 2}
    pages = {scope: read_pages(scope) for scope in scopes}
    assert {scope: len(rows) for scope, rows in pages.items()} == scopes
    assert pages == {scope: study.events(of=scope) for scope in scopes}
    assert pages == {scope: sorted(rows, key=lambda row: row.position) for scope, rows in pages.items()}


def test_events_of_a_bulk_cancel_are_sequenced_later_and_in_order(store: Store) -> None:
    study = EventStore(store, count=events.OUTBOX_THRESHOLD + 1)
    one, *many = study.ids
    study.cancel(one)
    # The events of a single cancel are not in the outbox: they and each first event get positions.
    assert study.sequence() == events.OUTBOX_THRESHOLD + 2
    study.cancel(*many)
    with store.read() as connection:
        written = connection.execute(select(Tables.outbox)).all()
    assert len(written) == events.OUTBOX_THRESHOLD
    assert study.read(events.has_unsequenced)
    # A single stop does not wait for the other events, and does not overtake its own.
    assert study.write(stops.record_stop, many[7])
    check_invariants(store)
    assert study.sequence(50) == 50
    check_invariants(store)
    study.check(dict.fromkeys(study.ids, 2) | {many[7]: 3})
    cancels = {row.participant_id: (row.kind, row.data, row.at) for row in study.events() if row.seq == 2}
    assert {row.participant_id: (row.kind, row.data, row.at) for row in written}.items() <= cancels.items()
    assert {data["status"] for _, data, _ in cancels.values()} == {"cancelled"}


def test_events_of_a_bulk_dispatch_are_sequenced_later_and_in_order(store: Store) -> None:
    study = EventStore(store, count=2 * events.OUTBOX_THRESHOLD)
    claimed, cancelled, *rest = study.ids
    assert study.outbox_size() == len(study.ids)
    # Single writes do not wait for the other events, and do not overtake their own.
    study.must_claim(claimed)
    study.cancel(cancelled)
    assert study.outbox_size() == len(rest)
    check_invariants(store)
    later = rest[events.OUTBOX_THRESHOLD // 2 :]
    study.cancel(*later)
    check_invariants(store)
    while study.sequence(50):
        check_invariants(store)
    study.check(dict.fromkeys(study.ids, 1) | dict.fromkeys([claimed, cancelled, *later], 2))


@on_postgresql
@pytest.mark.parametrize("before", ["SELECT outbox", "INSERT INTO event ", "DELETE FROM outbox"])
def test_cancel_while_the_outbox_is_moved_loses_no_event(
    store: Store, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setattr(events, "OUTBOX_THRESHOLD", 1)
    study = EventStore(store)
    waiting = [before]

    def cancel_first(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if waiting and statement.startswith(before):
            waiting.clear()
            with ThreadPoolExecutor(1) as thread:
                thread.submit(study.cancel, *study.ids).result(30)

    event.listen(store.engine, "before_cursor_execute", cancel_first)
    sequencer.assign_positions(store)
    event.remove(store.engine, "before_cursor_execute", cancel_first)
    assert not waiting
    check_invariants(store)
    study.check(dict.fromkeys(study.ids, 2))


@on_postgresql
def test_event_is_moved_once_by_concurrent_transactions(study: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "OUTBOX_THRESHOLD", 1)
    study.cancel(*study.ids)
    locks = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with study.store.engine.begin() as connection, ThreadPoolExecutor(1) as thread:
        assert stops.record_stop(connection, study.ids[1])
        others = thread.submit(sequencer.assign_positions, study.store, wait_for_lock=True)
        wait_until(lambda: connection.scalar(locks))
        connection.commit()
        others.result(30)
    study.check(dict.fromkeys(study.ids, 2) | {study.ids[1]: 3})


@on_postgresql
def test_only_one_transaction_assigns_positions_at_a_time(study: EventStore) -> None:
    with study.store.engine.begin() as connection:
        assert events.assign_positions(connection, 2) == 2
        # The third event's position depends on this open transaction.
        assert study.sequence() == 0
        assert study.events() == []
        with ThreadPoolExecutor(1) as thread:
            patient = thread.submit(study.write, events.assign_positions, wait_for_lock=True)
            connection.commit()
            assert patient.result(30) == 1
    study.check(dict.fromkeys(study.ids, 1))


@on_postgresql
def test_event_committed_late_gets_a_later_position(study: EventStore) -> None:
    sequencer.assign_positions(study.store)
    late, *others = study.ids
    with study.store.engine.begin() as connection:
        add_events(connection, late)
        study.write(add_events, *others)
        sequencer.assign_positions(study.store)
        seen = study.events()
        assert {row.participant_id for row in seen[3:]} == {*others}
    sequencer.assign_positions(study.store)
    (found,) = study.events(after=seen[-1].position)
    assert (found.participant_id, found.seq) == (late, 2)


def test_reader_that_continues_after_the_last_position_misses_no_event(store: Store) -> None:
    study = EventStore(store, count=12)
    stopping = threading.Event()
    read: list[AnyRow] = []
    chance = random.Random(4)

    def write(ids: list[UUID]) -> None:
        for _ in range(60):
            study.write(add_events, *chance.sample(ids, chance.randint(1, 4)))

    def sequence() -> None:
        # With a pause: on SQLite, the writers would get no turn otherwise.
        while not stopping.wait(0.002):
            study.sequence(chance.randint(1, 7))

    def follow() -> None:
        while not stopping.is_set():
            read.extend(study.events(after=read[-1].position if read else 0, limit=50))

    loops: list[Callable[[], None]] = [sequence, sequence, follow]
    with ThreadPoolExecutor(7) as threads:
        writers = [threads.submit(write, study.ids[start : start + 4]) for start in range(0, 12, 4)]
        others = [threads.submit(loop) for loop in loops]
        try:
            for writer in writers:
                writer.result(90)
            counts = {row.id: row.seq for row in study.rows()}
            wait_until(lambda: len(read) >= sum(counts.values()) or any(other.done() for other in others))
        finally:
            stopping.set()
        for other in others:
            other.result(30)
    check_events(read, counts)
