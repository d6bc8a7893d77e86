"""The window of run messages: who is published next, to which queue, under which limits, and who gives up a slot."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, update

from tests.factories import StudyStore, make_lease, make_participants, make_study
from tests.parameters import on_postgresql
from understudy.domain.fair_shares import MIN_SHARED_WINDOW, MIN_WINDOW
from understudy.domain.holds import DefaultLimits
from understudy.domain.queues import Queue
from understudy.store import lifecycle, limits, pauses, window
from understudy.store.engine import Store, store_clock
from understudy.store.guards import Claim
from understudy.store.schema import Tables

_p = Tables.participant
#: No limit of visitors.
MANY = DefaultLimits(per_site=10_000)


class Tenant(StudyStore):
    """A study of a workspace of its own, and what a refill does with its participants."""

    def refill(self, limit: int = 1_000, defaults: DefaultLimits = MANY) -> list[tuple[UUID, str]]:
        """Refills the window; returns the participants and queues of the new messages, in order."""
        messages = self.write(window.refill, limit, defaults).messages
        return [(message.participant_id, message.queue) for message in messages]

    def set(self, values: dict[str, Any], *where: Any) -> None:
        self.write(Connection.execute, update(_p).where(*where).values(**values))

    def set_workspace(self, **values: Any) -> None:
        own = update(Tables.workspace).where(Tables.workspace.c.id == self.workspace_id)
        self.write(Connection.execute, own.values(**values))

    def run(self, count: int) -> list[Claim]:
        """Claims new participants."""
        return [self.must_claim(id_) for id_ in self.participants(count)]


@pytest.fixture
def crowd(store: Store) -> Tenant:
    return Tenant(store, "crowd")


@pytest.fixture
def small(store: Store) -> Tenant:
    return Tenant(store, "small")


def with_slots(store: Store, slots: int) -> UUID:
    """Creates the lease of a worker with so many slots."""
    lease = make_lease(store)
    store.write(lambda connection: connection.execute(update(Tables.lease).values(slots=slots)))
    return lease


# -- what is published -------------------------------------------------------------------------------------


def test_window_is_bounded_and_filled_in_order_of_creation(crowd: Tenant) -> None:
    first = crowd.participants(MIN_WINDOW)
    later = crowd.participants(20)
    refill = crowd.write(window.refill, 5_000, MANY)
    assert [message.participant_id for message in refill.messages] == first
    assert (refill.has_more, refill.has_backlog) == (True, True)
    crowd.must_claim(first[0])
    assert crowd.refill() == [(later[0], Queue.RUNS)]
    assert crowd.refill() == []


def test_refill_stops_at_its_limit_and_says_so(crowd: Tenant) -> None:
    ids = crowd.participants(5)
    assert crowd.write(window.refill, 3, MANY).has_more
    assert not crowd.write(window.refill, 3, MANY).has_more
    assert {row.dispatched_at is None for row in crowd.rows()} == {False}
    assert not crowd.write(window.refill, len(ids), MANY).has_backlog


def test_participants_of_several_studies_take_turns_by_age(store: Store, crowd: Tenant) -> None:
    ids = crowd.participants(6)
    other, (iteration,) = make_study(store, crowd.workspace_id)
    ids += make_participants(store, crowd.workspace_id, other, iteration, 6)
    order = [ids[index] for index in (0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11)]
    for age, id_ in enumerate(reversed(order)):
        crowd.set({"created_at": store_clock(-age)}, _p.c.id == id_)
    assert [id_ for id_, _ in crowd.refill(5) + crowd.refill(99)] == order


def test_suspects_go_to_quarantine_whatever_the_window_holds(crowd: Tenant) -> None:
    crowd.participants(MIN_WINDOW)
    crowd.refill()
    (suspect,) = crowd.participants()
    for _ in range(2):
        lease = make_lease(crowd.store)
        crowd.must_claim(suspect, lease)
        crowd.expire_lease(lease)
        crowd.recover()
    assert crowd.refill() == [(suspect, Queue.QUARANTINE)]


def test_rows_of_the_previous_version_are_published_once_they_have_a_parent(crowd: Tenant) -> None:
    (id_,) = crowd.participants()
    crowd.set({"parent_id": None}, _p.c.id == id_)
    assert crowd.refill() == []
    assert [crowd.write(window.place_orphans) for _ in range(2)] == [1, 0]
    assert crowd.refill() == [(id_, Queue.RUNS)]
    assert crowd.row(id_).parent_id == crowd.iteration_id


@on_postgresql
def test_concurrent_refills_fill_the_same_room_once(crowd: Tenant) -> None:
    crowd.set_workspace(max_running=3)
    crowd.participants(10)
    other: list[list[tuple[UUID, str]]] = []
    with crowd.store.engine.begin() as connection:
        mine = window.refill(connection, 2, MANY).messages
        thread = threading.Thread(target=lambda: other.append(crowd.refill()))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "it waits for the first one"
    thread.join(10)
    assert (len(mine), len(other[0])) == (2, 1)


# -- fair shares -------------------------------------------------------------------------------------------


def test_second_workspace_goes_ahead_of_the_first_ones_window(store: Store, crowd: Tenant, small: Tenant) -> None:
    lease = with_slots(store, 2)
    crowd.worker_id = lease
    running = crowd.run(2)
    crowd.participants(50)
    crowd.refill()
    (id_,) = small.participants()
    assert small.refill() == [(id_, Queue.RECOVERED)]
    assert [crowd.row(claim.participant_id).yields for claim in running].count(True) == 1
    # Until it has a slot, nobody else is asked.
    assert small.refill() == []
    assert sum(row.yields for row in crowd.rows()) == 1


def test_message_that_waits_for_a_slot_of_another_workspace_is_looked_after(
    store: Store, crowd: Tenant, small: Tenant
) -> None:
    """A run that was asked may be lost with its worker before it gives up the slot."""
    crowd.worker_id = with_slots(store, 2)
    crowd.run(2)
    small.participants()
    assert small.read(window.has_work)
    small.refill()
    assert small.read(window.has_work)
    small.set({"yields": False}, _p.c.workspace_id == crowd.workspace_id)
    assert small.write(window.refill, 9, MANY).preempted == 1


def test_run_that_yields_is_released_at_its_next_interaction_and_waits_its_turn(store: Store, crowd: Tenant) -> None:
    claim = crowd.running()
    crowd.set({"yields": True}, _p.c.id == claim.participant_id)
    assert crowd.commit(claim, 0)
    assert crowd.write(lifecycle.release, claim, 5)
    row = crowd.row(claim.participant_id)
    assert (row.status, row.queue, row.yields, row.attempt, row.interaction_count) == (
        "pending",
        Queue.RESUME,
        False,
        0,
        1,
    )
    new = crowd.participants(3)
    assert [id_ for id_, _ in crowd.refill()] == [claim.participant_id, *new]


def test_message_of_a_slot_that_was_given_up_claims_nothing(crowd: Tenant) -> None:
    (id_,) = crowd.participants()
    crowd.refill()
    claim = crowd.must_claim(id_)
    assert crowd.write(lifecycle.release, claim, 5)
    assert crowd.claim(id_) is None, "its message may have been sent twice"
    crowd.refill()
    assert crowd.claim(id_) is not None


def test_no_run_gives_up_its_slot_twice_in_a_row(store: Store, crowd: Tenant, small: Tenant) -> None:
    crowd.worker_id = small.worker_id = with_slots(store, 3)
    crowd.run(3)
    asked: list[UUID] = []
    for _ in range(3):
        (id_,) = small.participants()
        small.refill()
        (yielding,) = [row.id for row in crowd.rows() if row.yields]
        asked.append(yielding)
        # It comes back at once, and the small one ends.
        crowd.set({"yields": False}, _p.c.id == yielding)
        small.write(lifecycle.complete, small.must_claim(id_), None, 1)
    assert len(set(asked)) == 3


def test_message_that_waits_too_long_behind_another_workspace_moves_ahead(
    store: Store, crowd: Tenant, small: Tenant
) -> None:
    crowd.worker_id = with_slots(store, 4)
    crowd.run(4)
    crowd.participants(50)
    crowd.refill()
    (id_,) = small.participants()
    small.set({"dispatched_at": store_clock(), "dispatch_no": 1}, _p.c.id == id_)
    assert small.refill() == []
    small.set({"dispatched_at": store_clock(-2)}, _p.c.id == id_)
    assert small.refill() == [(id_, Queue.RECOVERED)]
    assert small.row(id_).dispatch_no == 2


def test_extends_of_one_workspace_do_not_delay_another(store: Store, crowd: Tenant, small: Tenant) -> None:
    ids = crowd.participants(300)
    crowd.set({"queue": str(Queue.RESUME)}, _p.c.workspace_id == crowd.workspace_id)
    crowd.worker_id = with_slots(store, 2)
    crowd.refill()
    for id_ in ids[:2]:
        crowd.must_claim(id_)
    small_ids = small.participants(1)
    assert small.refill() == [(small_ids[0], Queue.RECOVERED)]


def test_recovered_run_is_first_in_its_workspace_but_delays_no_other(
    store: Store, crowd: Tenant, small: Tenant
) -> None:
    crowd.worker_id = small.worker_id = with_slots(store, 2)
    crowd.run(1)
    small.run(1)
    new = crowd.participants(2)
    (lost,) = crowd.participants()
    crowd.set({"queue": str(Queue.RECOVERED), "started_at": store_clock()}, _p.c.id == lost)
    small.participants(1)
    published = [item for item in crowd.refill() if item[0] in {lost, *new}]
    assert published == [(lost, Queue.RESUME), (new[0], Queue.RUNS), (new[1], Queue.RUNS)]


def test_window_that_workspaces_share_is_smaller(crowd: Tenant, small: Tenant) -> None:
    crowd.participants(500)
    small.participants(500)
    owners = {row.id: row.workspace_id for row in crowd.rows()}
    counts = Counter(owners[id_] for id_, _ in crowd.refill())
    assert counts.total() >= MIN_SHARED_WINDOW
    assert counts[crowd.workspace_id] == counts[small.workspace_id]


# -- limits ------------------------------------------------------------------------------------------------


def test_limit_of_a_workspace_holds_the_rest_back(crowd: Tenant) -> None:
    crowd.set_workspace(max_running=3)
    running = crowd.run(1)
    crowd.participants(5)
    assert len(crowd.refill()) == 2
    assert crowd.refill() == []
    crowd.write(lifecycle.complete, running[0], None, 1)
    assert len(crowd.refill()) == 1


def test_limit_of_a_study_leaves_other_studies_alone(store: Store, crowd: Tenant) -> None:
    crowd.write(Connection.execute, update(Tables.study).values(max_running=1))
    crowd.participants(5)
    other, (iteration,) = make_study(store, crowd.workspace_id)
    others = make_participants(store, crowd.workspace_id, other, iteration, 5)
    published = [id_ for id_, _ in crowd.refill()]
    assert (len(published), set(others) <= set(published)) == (6, True)


def test_visitors_of_a_public_site_are_limited_over_all_studies_of_a_workspace(
    store: Store, crowd: Tenant, small: Tenant
) -> None:
    content = {"url": "https://shop.example/a"}
    shops = [make_study(store, crowd.workspace_id, content=content) for _ in range(2)]
    for study, (iteration,) in shops:
        make_participants(store, crowd.workspace_id, study, iteration, 5)
    study, (iteration,) = make_study(store, small.workspace_id, content=content)
    others = make_participants(store, small.workspace_id, study, iteration, 2)
    local, (iteration,) = make_study(store, crowd.workspace_id, content={"url": "http://127.0.0.1:9000/"})
    locals_ = make_participants(store, crowd.workspace_id, local, iteration, 9)
    published = {id_ for id_, _ in crowd.refill(defaults=DefaultLimits(per_site=3))}
    assert len(published) == 3 + 2 + 9
    assert {*others, *locals_} <= published
    found = crowd.read(limits.holds, crowd.workspace_id, [row.id for row in crowd.rows()], DefaultLimits(per_site=3))
    assert {hold.sentence for hold in found.values()} == {
        "At most 3 participants of this workspace may visit https://shop.example at once."
    }


# -- pauses ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["study", "workspace"])
def paused(request: pytest.FixtureRequest, crowd: Tenant) -> Iterator[tuple[Tenant, Any, Any]]:
    """A tenant with a pause of its study or workspace, and the end of this pause."""
    if request.param == "study":
        ids = (crowd.workspace_id, crowd.study_id)
        yield crowd, lambda: crowd.write(pauses.pause_study, *ids), lambda: crowd.write(pauses.resume_study, *ids)
    else:
        one = crowd.workspace_id
        yield crowd, lambda: crowd.write(pauses.pause_workspace, one), lambda: crowd.write(pauses.resume_workspace, one)


def test_pause_withdraws_messages_and_slots_and_resume_gives_them_back(paused: tuple[Tenant, Any, Any]) -> None:
    tenant, pause, resume = paused
    claim = tenant.running()
    sent, unsent = tenant.participants(2)
    tenant.refill(1)
    assert pause() == (1, 1)
    assert pause() == (1, 0), "a repeat changes nothing"
    assert tenant.claim(sent) is None
    assert tenant.refill() == []
    assert tenant.commit(claim, 0)
    assert tenant.row(claim.participant_id).yields
    assert tenant.write(lifecycle.release, claim, 1)
    assert tenant.refill() == []
    (hold,) = tenant.read(limits.holds, tenant.workspace_id, [unsent], MANY).values()
    assert hold.is_pause
    resume()
    resume()
    assert {id_ for id_, _ in tenant.refill()} == {sent, unsent, claim.participant_id}
    assert tenant.read(limits.holds, tenant.workspace_id, [unsent], MANY) == {}


def test_resume_before_the_next_interaction_lets_the_run_continue(paused: tuple[Tenant, Any, Any]) -> None:
    tenant, pause, resume = paused
    claim = tenant.running()
    pause()
    resume()
    assert not tenant.row(claim.participant_id).yields


def test_end_of_one_pause_leaves_the_other(crowd: Tenant) -> None:
    claim = crowd.running()
    crowd.participants(2)
    crowd.write(pauses.pause_study, crowd.workspace_id, crowd.study_id)
    crowd.write(pauses.pause_workspace, crowd.workspace_id)
    crowd.write(pauses.resume_workspace, crowd.workspace_id)
    assert (crowd.refill(), crowd.row(claim.participant_id).yields) == ([], True)
    crowd.write(pauses.pause_workspace, crowd.workspace_id)
    crowd.write(pauses.resume_study, crowd.workspace_id, crowd.study_id)
    assert (crowd.refill(), crowd.row(claim.participant_id).yields) == ([], True)


def test_study_of_another_workspace_cannot_be_paused(crowd: Tenant, small: Tenant) -> None:
    claim = crowd.running()
    crowd.write(pauses.pause_study, small.workspace_id, crowd.study_id)
    assert not crowd.row(claim.participant_id).yields
    with crowd.store.read() as connection:
        assert set(connection.scalars(select(Tables.study.c.paused_at))) == {None}


def test_paused_participants_can_be_cancelled(paused: tuple[Tenant, Any, Any]) -> None:
    tenant, pause, _ = paused
    ids = [tenant.running().participant_id, *tenant.participants(2)]
    pause()
    assert {*tenant.cancel(*ids)} == {*ids}


@on_postgresql
def test_pause_waits_for_a_refill_in_progress(crowd: Tenant) -> None:
    ids = crowd.participants(3)
    with crowd.store.engine.begin() as connection:
        assert len(window.refill(connection, 9, MANY).messages) == 3
        ids_ = (crowd.workspace_id, crowd.study_id)
        thread = threading.Thread(target=lambda: crowd.write(pauses.pause_study, *ids_))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(10)
    assert {row.dispatched_at for row in crowd.rows() if row.id in ids} == {None}
