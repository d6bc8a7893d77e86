"""Positions of events: each once, in order, visible in order, however late something is committed."""

import random
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import event, select, text, update

from tests.factories import make_ask, make_lease, make_participants, make_study, make_workspace
from tests.invariants import check_invariants
from tests.servers import wait_until
from understudy import sequencer
from understudy.domain.ids import Kind
from understudy.store import events, lifecycle, stops
from understudy.store.engine import AnyRow, Store
from understudy.store.events import NewEvent
from understudy.store.schema import Tables

_p = Tables.participant


class World(NamedTuple):
    store: Store
    workspace_id: UUID
    study_id: UUID
    ids: list[UUID]

    def tell(self, *ids: UUID) -> None:
        """One more event of each, by one transaction, as a guarded write does it."""
        self.store.write(lambda connection: tell(connection, ids))

    def cancel(self, *ids: UUID) -> None:
        cancelled = self.store.write(lambda connection: lifecycle.cancel(connection, self.workspace_id, ids))
        assert len(cancelled) == len(ids)

    def stop(self, id_: UUID) -> None:
        assert self.store.write(lambda connection: stops.record_stop(connection, id_))

    def read(self, after: int = 0, limit: int = 1000) -> list[AnyRow]:
        with self.store.read() as connection:
            of = (Kind.STUDY, self.study_id)
            return list(events.events_after(connection, self.workspace_id, after, limit, of=of))


def tell(connection: Any, ids: tuple[UUID, ...]) -> None:
    raised = update(_p).where(_p.c.id.in_(ids)).values(seq=_p.c.seq + 1).returning(_p.c.id, _p.c.seq)
    rows = connection.execute(raised).all()
    events.record(connection, [NewEvent(row.id, row.seq, "stopped", {}) for row in rows])


def make_world(store: Store, name: str = "acme", count: int = 3) -> World:
    workspace_id = make_workspace(store, name).workspace_id
    study_id, (iteration_id,) = make_study(store, workspace_id)
    return World(store, workspace_id, study_id, make_participants(store, workspace_id, study_id, iteration_id, count))


@pytest.fixture
def world(store: Store) -> World:
    return make_world(store)


def by_participant(rows: list[AnyRow]) -> dict[UUID, list[int]]:
    found: dict[UUID, list[int]] = defaultdict(list)
    for row in rows:
        found[row.participant_id].append(row.seq)
    return found


def test_each_workspace_counts_its_own_from_1(world: World) -> None:
    other = make_world(world.store, "rival", 5)
    sequencer.assign_positions(world.store)
    world.tell(*world.ids)
    other.tell(other.ids[0])
    sequencer.assign_positions(world.store)
    assert [row.position for row in world.read()] == [1, 2, 3, 4, 5, 6]
    assert [row.position for row in other.read()] == [1, 2, 3, 4, 5, 6]
    with world.store.read() as connection:
        assert events.last_position(connection, world.workspace_id) == 6
        assert not events.has_unsequenced(connection)


def test_one_given_a_few_at_a_time_gets_them_in_order(world: World) -> None:
    for _ in range(7):
        world.tell(*world.ids)
    while given := world.store.write(lambda c: events.assign_positions(c, random.randint(1, 4))):
        assert given <= 4
        world.tell(random.choice(world.ids))
        if len(world.read()) > 40:
            break
    sequencer.assign_positions(world.store)
    rows = world.read()
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    for seqs in by_participant(rows).values():
        assert seqs == list(range(1, len(seqs) + 1))


def test_events_are_read_by_participant_study_and_ask_in_pages(world: World) -> None:
    ask_id, (first, _) = make_ask(world.store, world.workspace_id)
    sequencer.assign_positions(world.store)
    world.tell(*world.ids, *first)
    sequencer.assign_positions(world.store)
    scopes = {(Kind.STUDY, world.study_id): 6, (Kind.ASK, ask_id): 6, (Kind.PARTICIPANT, world.ids[1]): 2}
    for scope, count in scopes.items():
        with world.store.read() as connection:
            whole = events.events_after(connection, world.workspace_id, 0, 100, of=scope)
            paged: list[AnyRow] = []
            while page := events.events_after(
                connection, world.workspace_id, paged[-1].position if paged else 0, 2, of=scope
            ):
                paged += page
        assert len(whole) == count
        assert paged == list(whole)
        assert [row.position for row in whole] == sorted(row.position for row in whole)


def test_of_many_who_are_cancelled_at_once_the_events_come_later_and_in_order(store: Store) -> None:
    world = make_world(store, count=events.OUTBOX_THRESHOLD + 1)
    one, *many = world.ids
    world.cancel(one)
    # A cancel of one is with its others; its events and the first of each get their positions.
    assert store.write(lambda connection: events.assign_positions(connection, 1000)) == events.OUTBOX_THRESHOLD + 2
    world.cancel(*many)
    with store.read() as connection:
        written = connection.execute(select(Tables.outbox)).all()
        assert len(written) == events.OUTBOX_THRESHOLD
        assert events.has_unsequenced(connection)
    # Who stops does not wait for the others' events, nor overtakes its own.
    world.stop(many[7])
    check_invariants(store)
    assert store.write(lambda connection: events.assign_positions(connection, 50)) == 50
    check_invariants(store)
    sequencer.assign_positions(store)
    rows = world.read()
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    expected = {id_: [1, 2] for id_ in world.ids} | {many[7]: [1, 2, 3]}
    assert by_participant(rows) == expected
    told = {row.participant_id: (row.kind, row.data, row.at) for row in rows if row.seq == 2}
    assert {row.participant_id: (row.kind, row.data, row.at) for row in written}.items() <= told.items()
    assert {data["status"] for _, data, _ in told.values()} == {"cancelled"}
    with store.read() as connection:
        assert not events.has_unsequenced(connection)
        assert not connection.execute(select(Tables.outbox)).all()


def test_of_many_who_are_made_at_once_the_events_come_later_and_in_order(store: Store) -> None:
    world = make_world(store, count=2 * events.OUTBOX_THRESHOLD)
    claimed, gone, *rest = world.ids
    worker = make_lease(store)
    with store.read() as connection:
        assert len(connection.execute(select(Tables.outbox)).all()) == len(world.ids)
    # Neither waits for the others' events, nor overtakes its own.
    assert store.write(lambda connection: lifecycle.claim(connection, claimed, worker))
    world.cancel(gone)
    with store.read() as connection:
        assert len(connection.execute(select(Tables.outbox)).all()) == len(rest)
    check_invariants(store)
    world.cancel(*rest[events.OUTBOX_THRESHOLD // 2 :])
    check_invariants(store)
    while store.write(lambda connection: events.assign_positions(connection, 50)):
        check_invariants(store)
    rows = world.read()
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    twice = {claimed, gone, *rest[events.OUTBOX_THRESHOLD // 2 :]}
    assert by_participant(rows) == {id_: [1, 2] if id_ in twice else [1] for id_ in world.ids}
    with store.read() as connection:
        assert not connection.execute(select(Tables.outbox)).all()


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("before", ["SELECT outbox", "INSERT INTO event ", "DELETE FROM outbox"])
def test_a_cancel_while_events_are_moved_loses_none(store: Store, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """On SQLite nobody else writes at all meanwhile."""
    monkeypatch.setattr(events, "OUTBOX_THRESHOLD", 1)
    world = make_world(store)
    waiting = [before]

    def cancel_first(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if waiting and statement.startswith(before):
            waiting.clear()
            with ThreadPoolExecutor(1) as thread:
                thread.submit(world.cancel, *world.ids).result(30)

    event.listen(store.engine, "before_cursor_execute", cancel_first)
    sequencer.assign_positions(store)
    event.remove(store.engine, "before_cursor_execute", cancel_first)
    assert not waiting
    check_invariants(store)
    sequencer.assign_positions(store)
    assert by_participant(world.read()) == {id_: [1, 2] for id_ in world.ids}


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_an_event_is_moved_once_whoever_comes_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite nobody else writes at all meanwhile."""
    monkeypatch.setattr(events, "OUTBOX_THRESHOLD", 1)
    world.cancel(*world.ids)
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with world.store.engine.begin() as connection, ThreadPoolExecutor(1) as thread:
        assert stops.record_stop(connection, world.ids[1])
        others = thread.submit(sequencer.assign_positions, world.store, wait_for_lock=True)
        wait_until(lambda: connection.scalar(waits))
        connection.commit()
        others.result(30)
    rows = world.read()
    assert by_participant(rows) == {id_: [1, 2] for id_ in world.ids} | {world.ids[1]: [1, 2, 3]}


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_while_one_gives_positions_nobody_else_does_or_waits_for_it(world: World) -> None:
    """On SQLite nobody else writes at all meanwhile."""
    with world.store.engine.begin() as connection:
        assert events.assign_positions(connection, 2) == 2
        # It is the third one's turn to get a number, and nobody may say which while this is open.
        assert world.store.write(events.assign_positions) == 0
        assert world.read() == []
        with ThreadPoolExecutor(1) as thread:
            patient = thread.submit(world.store.write, lambda other: events.assign_positions(other, wait_for_lock=True))
            connection.commit()
            assert patient.result(30) == 1
    assert [row.position for row in world.read()] == [1, 2, 3]


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_what_is_committed_late_comes_after_what_others_were_given_meanwhile(world: World) -> None:
    sequencer.assign_positions(world.store)
    late, *others = world.ids
    with world.store.engine.begin() as connection:
        tell(connection, (late,))
        world.tell(*others)
        sequencer.assign_positions(world.store)
        seen = world.read()
        assert late not in [row.participant_id for row in seen[3:]]
    sequencer.assign_positions(world.store)
    (found,) = world.read(after=seen[-1].position)
    assert (found.participant_id, found.seq) == (late, 2)


def test_a_reader_that_remembers_the_last_position_misses_nothing_whoever_gives_them(store: Store) -> None:
    world = make_world(store, count=12)
    over = threading.Event()
    read: list[AnyRow] = []
    lots = random.Random(4)

    def write(ids: list[UUID]) -> None:
        for _ in range(60):
            world.tell(*lots.sample(ids, lots.randint(1, 4)))

    def give() -> None:
        # Not without pause: on SQLite, nobody else would get to write.
        while not over.wait(0.002):
            store.write(lambda connection: events.assign_positions(connection, lots.randint(1, 7)))

    def follow() -> None:
        while not over.is_set():
            read.extend(world.read(after=read[-1].position if read else 0, limit=50))

    with ThreadPoolExecutor(7) as threads:
        writers = [threads.submit(write, world.ids[start : start + 4]) for start in range(0, 12, 4)]
        others = [threads.submit(work) for work in (give, give, follow)]
        try:
            for writer in writers:
                writer.result(90)
            with store.read() as connection:
                told = connection.execute(_p.select().with_only_columns(_p.c.id, _p.c.seq)).all()
            written = sum(row.seq for row in told)
            wait_until(lambda: len(read) >= written or any(other.done() for other in others))
        finally:
            over.set()
        for other in others:
            other.result(30)
    assert [row.position for row in read] == list(range(1, written + 1))
    assert by_participant(read) == {row.id: list(range(1, row.seq + 1)) for row in told}
