"""Aliases, publish reservations, branches and lineages, on both stores."""

from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from tests.factories import StudyStore, at_once, make_lease, make_workspace
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.domain.people import generate_people
from understudy.domain.queues import QUARANTINE_ATTEMPT, Queue
from understudy.store import dispatch, lineage, people, window
from understudy.store.aliases import assign_aliases
from understudy.store.dispatch import RunMessage
from understudy.store.engine import Connection, Store, store_clock, store_time
from understudy.store.schema import Tables

_p = Tables.participant


@pytest.fixture
def study(store: Store) -> StudyStore:
    return StudyStore(store)


# -- aliases -----------------------------------------------------------------------------------------------


def test_alias_of_a_later_id_is_one_digit_longer(study: StudyStore) -> None:
    ids = [UUID(f"abcdef{index}0-0000-4000-8000-00000000000{index}") for index in range(3)]
    aliases = study.write(assign_aliases, study.workspace_id, Kind.STUDY, ids)
    assert list(aliases.values()) == ["s-abc", "s-abcd", "s-abcde"]


def test_alias_length_does_not_depend_on_another_workspace(study: StudyStore) -> None:
    """A longer alias would show that another workspace has such a row."""
    with study.store.read() as connection:
        theirs = connection.scalars(select(Tables.person.c.id)).first()
    assert theirs is not None
    mine = UUID(theirs.hex[:12] + "0" * 20)
    other = make_workspace(study.store, "other", 0).workspace_id
    assert study.write(assign_aliases, other, Kind.PERSON, [mine]) == {mine: f"tp-{theirs.hex[:3]}"}


def test_thousands_of_aliases_are_unique_and_short(study: StudyStore) -> None:
    study.write(people.insert_people, study.workspace_id, generate_people(2_000, 2))
    with study.store.read() as connection:
        aliases = connection.scalars(select(Tables.person.c.alias)).all()
    assert len(set(aliases)) == len(aliases) == 2_004
    assert max(map(len, aliases)) <= len("tp-") + 8


def test_concurrent_inserts_that_choose_the_same_alias_all_succeed(study: StudyStore) -> None:
    at_once(*[lambda: study.participants(100)] * 6)
    assert len({row.alias for row in study.rows()}) == 600


# -- messages ----------------------------------------------------------------------------------------------


def reserve(study: StudyStore, republish_after_s: float | None = None) -> list[RunMessage]:
    """Reserves the messages of all participants."""
    ids = [row.id for row in study.rows()]

    def work(connection: Connection) -> list[RunMessage]:
        if republish_after_s is None:
            return window.refill(connection, 1_000).messages
        return dispatch.reserve_again(connection, ids, store_time(connection, -republish_after_s))

    return study.store.write(work)


def test_message_is_reserved_once(study: StudyStore) -> None:
    ids = study.participants(50)
    reserved = at_once(*[lambda: reserve(study)] * 4)
    assert sorted(message.participant_id for messages in reserved for message in messages) == sorted(ids)
    assert reserve(study) == []


def test_message_describes_its_participant_by_aliases(study: StudyStore) -> None:
    row = study.row()
    (message,) = reserve(study)
    with study.store.read() as connection:
        study_alias = connection.scalar(select(Tables.study.c.alias))
    assert message.task_id == f"{row.id}.1"
    assert message.description == f"participant={row.alias} study={study_alias}"


def test_message_that_was_not_sent_is_reserved_again(study: StudyStore) -> None:
    study.participants()
    first = reserve(study)
    study.write(dispatch.unreserve_messages, first)
    (second,) = reserve(study)
    assert second.dispatch_no == 2
    # A later message was sent: releasing the earlier reservation changes nothing.
    study.write(dispatch.unreserve_messages, first)
    assert reserve(study) == []


def test_overdue_message_is_reserved_again(study: StudyStore) -> None:
    study.participants()
    reserve(study)
    assert reserve(study, republish_after_s=60) == []
    study.write(Connection.execute, update(_p).values(dispatched_at=store_clock(-61)))
    (again,) = reserve(study, republish_after_s=60)
    assert again.task_id.endswith(".2")


def test_overdue_message_of_a_suspect_is_reserved_again_for_quarantine(study: StudyStore) -> None:
    (id_,) = study.participants()
    for _ in range(QUARANTINE_ATTEMPT):
        reserve(study)
        worker = make_lease(study.store)
        study.must_claim(id_, worker)
        study.expire_lease(worker)
        study.recover()
    reserve(study)
    # As the previous version left it.
    moved = {"queue": str(Queue.RECOVERED), "dispatched_at": store_clock(-61)}
    study.write(Connection.execute, update(_p).values(moved))
    (again,) = reserve(study, republish_after_s=60)
    assert again.queue == Queue.QUARANTINE


def test_overdue_message_of_a_cancelled_participant_is_not_reserved_again(study: StudyStore) -> None:
    (id_,) = study.participants()
    reserve(study)
    study.cancel(id_)
    study.write(Connection.execute, update(_p).values(dispatched_at=store_clock(-61)))
    assert reserve(study, republish_after_s=60) == []


def test_reservation_skips_rows_that_another_transaction_holds(study: StudyStore) -> None:
    if study.store.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer")
    held, free = study.participants(2)
    reserve(study)
    study.write(Connection.execute, update(_p).values(dispatched_at=store_clock(-61)))
    with study.store.engine.begin() as other:
        other.execute(select(_p.c.id).where(_p.c.id == held).with_for_update())
        assert [message.participant_id for message in reserve(study, republish_after_s=60)] == [free]


def test_message_of_a_participant_that_is_not_pending_is_not_reserved(study: StudyStore) -> None:
    study.must_claim()
    assert reserve(study) == []
    study.cancel()
    assert reserve(study) == []


def test_reservation_moves_a_participant_lost_twice_to_quarantine(study: StudyStore) -> None:
    """The previous version released it to the recovered queue."""
    for _ in range(2):
        worker_id = make_lease(study.store)
        study.must_claim(worker_id=worker_id)
        study.expire_lease(worker_id)
        study.recover()
    study.write(Connection.execute, update(_p).values(queue="simulations.recovered"))
    assert [message.queue for message in reserve(study)] == ["simulations.alone"]
    assert study.row().queue == "simulations.alone"


# -- branches ----------------------------------------------------------------------------------------------


def walk(study: StudyStore, id_: UUID, steps: int) -> None:
    """Claims the participant, commits `steps` interactions and cancels it."""
    claim, start = study.must_claim(id_), study.row(id_).interaction_count
    for index in range(start, start + steps):
        study.commit(claim, index, state={"memory": {}, "environment": {"of": str(id_), "page": index}})
    study.cancel(id_)


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.DRAFT])
def test_extend_of_a_source_that_is_not_terminal_inserts_nothing(study: StudyStore, status: Status) -> None:
    (id_,) = study.participants(status=Status.DRAFT if status is Status.DRAFT else Status.PENDING)
    if status is Status.RUNNING:
        study.must_claim(id_)
    assert study.extend(id_) is None
    assert [row.status for row in study.rows()] == [status]


def test_extend_by_another_workspace_inserts_nothing(study: StudyStore) -> None:
    study.cancel()
    other = make_workspace(study.store, "other").workspace_id
    assert study.write(dispatch.insert_branch, other, study.id_, 1, None) is None


def test_lineage_is_read_without_copies(study: StudyStore) -> None:
    root = study.id_
    walk(study, root, 3)
    child = study.extend(root, 10, "first").id
    walk(study, child, 2)
    grandchild = study.extend(child, 10).id
    sibling = study.extend(root, 10, "other").id
    whole = [*((index, root) for index in range(3)), *((index, child) for index in (3, 4))]
    rows = study.read(lambda connection: list(lineage.interactions(connection, grandchild, limit=100)))
    assert [(row.ordinal, row.participant_id) for row in rows] == whole

    def page(of: UUID, *, own: bool, cursor: str | None, limit: int) -> tuple[Any, str | None]:
        return study.read(lineage.page_of_interactions, study.workspace_id, of, own=own, cursor=cursor, limit=limit)

    _, cursor = page(grandchild, own=False, cursor=None, limit=2)
    assert [row.ordinal for row in page(grandchild, own=False, cursor=cursor, limit=2)[0]] == [2, 3]
    own, _ = page(child, own=True, cursor=None, limit=100)
    latest = study.read(lineage.latest_interactions, grandchild, 2)
    assert [row.ordinal for row in own] == [row.ordinal for row in latest] == [3, 4]
    # A participant without interactions resumes from the checkpoint of its source.
    checkpoints = [study.read(lineage.load_checkpoint, id_) for id_ in (grandchild, sibling)]
    assert [state["environment"] for state in checkpoints] == [
        {"of": str(child), "page": 4},
        {"of": str(root), "page": 2},
    ]
    assert study.read(lineage.instructions, grandchild) == [(3, "first")]
    assert study.read(lineage.instructions, sibling) == [(3, "other")]


def test_any_part_of_a_lineage_is_that_of_the_whole(study: StudyStore) -> None:
    leaf = study.id_
    holders: list[UUID] = []
    # Also participants without own interactions, at the start, in the middle and at the end.
    for steps in (0, 3, 0, 1, 2, 0):
        walk(study, leaf, steps)
        holders += [leaf] * steps
        leaf = study.extend(leaf, 10).id
    whole = list(enumerate(holders))
    for limit in range(8):
        latest = study.read(lineage.latest_interactions, leaf, limit)
        assert [(row.ordinal, row.participant_id) for row in latest] == whole[len(whole) - limit if limit < 6 else 0 :]
        for after in range(-1, 7):
            part = partial(lineage.interactions, participant_id=leaf, after=after, limit=limit)
            rows = study.read(lambda connection, part=part: list(part(connection)))
            assert [(row.ordinal, row.participant_id) for row in rows] == whole[after + 1 :][:limit]


def test_child_of_a_source_without_interactions_has_no_checkpoint(study: StudyStore) -> None:
    study.cancel()
    assert study.read(lineage.load_checkpoint, study.extend().id) is None
