"""The guards of every move, against both stores. DESIGN's promises P1 to P5, one race each."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, update

from tests.factories import make_lease, make_participants, make_study, make_workspace
from tests.servers import wait_until
from understudy.domain.lifecycle import FailureKind, Outcome, Status
from understudy.domain.runs import Step
from understudy.store import leases, lifecycle, recovery, stops
from understudy.store.engine import Store, store_clock
from understudy.store.guards import Claim
from understudy.store.schema import Tables

_p = Tables.participant


class World(NamedTuple):
    store: Store
    workspace_id: UUID
    worker_id: UUID
    participant_id: UUID

    def row(self, id_: UUID | None = None) -> Any:
        with self.store.read() as connection:
            return connection.execute(select(_p).where(_p.c.id == (id_ or self.participant_id))).one()

    def claim(self, worker_id: UUID | None = None) -> Claim | None:
        row = self.store.write(
            lambda connection: lifecycle.claim(connection, self.participant_id, worker_id or self.worker_id)
        )
        return None if row is None else Claim(row.id, row.epoch)

    def must_claim(self) -> Claim:
        claim = self.claim()
        assert claim is not None
        return claim

    def commit(self, claim: Claim, index: int, **changes: Any) -> bool:
        step = make_step(index, **changes)
        return self.store.write(lambda connection: lifecycle.commit_step(connection, claim, step, 5))

    def cancel(self) -> list[UUID]:
        ids = [self.participant_id]
        return list(self.store.write(lambda connection: lifecycle.cancel(connection, self.workspace_id, ids)))

    def lose_worker(self) -> None:
        """Its lease runs out, by the store's clock."""
        self.store.write(
            lambda connection: connection.execute(
                update(Tables.lease).where(Tables.lease.c.id == self.worker_id).values(expires_at=store_clock(-1))
            )
        )

    def recover(self, max_attempts: int = 3) -> list[UUID]:
        lost = self.store.write(lambda connection: recovery.recover_lost(connection, max_attempts, 100))
        return [*lost.resumed, *lost.failed]

    def events(self) -> list[tuple[str, Any]]:
        with self.store.read() as connection:
            rows = connection.execute(
                select(Tables.event)
                .where(Tables.event.c.participant_id == self.participant_id)
                .order_by(Tables.event.c.seq)
            )
            return [(row.kind, row.data.get("status", row.data.get("index"))) for row in rows]


def make_step(index: int, **changes: Any) -> Step:
    values: dict[str, Any] = {
        "index": index,
        "observation": {"url": "u", "title": "t", "problem": "", "text": ""},
        "thought": "hm",
        "action": {"kind": "follow"},
        "sentiment": 0.0,
        "result": {"url": "u2"},
        "started_at": datetime.now(UTC),
        "duration_ms": 3,
        "state": {"memory": {}, "environment": {"page": index}},
    }
    return Step(**(values | changes))


@pytest.fixture
def world(store: Store) -> World:
    workspace_id = make_workspace(store).workspace_id
    study_id, (iteration_id,) = make_study(store, workspace_id)
    (participant_id,) = make_participants(store, workspace_id, study_id, iteration_id, max_interactions=50)
    return World(store, workspace_id, make_lease(store), participant_id)


# -- claim -------------------------------------------------------------------------------------------------


def test_a_claim_raises_the_epoch_and_names_the_worker(world: World) -> None:
    claim = world.must_claim()
    row = world.row()
    assert (row.status, row.epoch, row.worker_id) == ("running", 1, world.worker_id)
    assert claim.epoch == 1
    assert row.started_at is not None


def test_a_duplicate_message_claims_nothing(world: World) -> None:
    world.must_claim()
    assert world.claim() is None
    assert world.row().epoch == 1


def test_a_cancelled_participant_is_not_to_be_had(world: World) -> None:
    world.cancel()
    assert world.claim() is None


def test_a_worker_without_a_live_lease_claims_nothing(world: World) -> None:
    world.lose_worker()
    assert world.claim() is None
    assert world.row().status == "pending"


def test_of_many_claims_at_once_one_wins(world: World) -> None:
    claims = at_once(8, world.claim)
    assert len([claim for claim in claims if claim is not None]) == 1


# -- commit ------------------------------------------------------------------------------------------------


def test_a_commit_stores_the_interaction_and_the_state_to_go_on_from(world: World) -> None:
    claim = world.must_claim()
    assert world.commit(claim, 0)
    assert world.commit(claim, 1)
    with world.store.read() as connection:
        states = connection.scalars(select(Tables.checkpoint.c.state)).all()
    assert states == [{"memory": {}, "environment": {"page": 1}}]
    assert world.row().interaction_count == 2
    assert world.row().claimed_ms == 10


def test_nothing_is_stored_after_a_cancel_was_answered(world: World) -> None:
    claim = world.must_claim()
    world.commit(claim, 0)
    assert world.cancel() == [world.participant_id]
    assert not world.commit(claim, 1)
    assert world.row().interaction_count == 1


def test_a_frozen_worker_that_thaws_cannot_write(world: World) -> None:
    """Its participant was given to somebody else and runs again: only the epoch tells the two apart."""
    frozen = world.must_claim()
    world.lose_worker()
    world.recover()
    thief = world.claim(make_lease(world.store))
    assert thief is not None
    assert not world.commit(frozen, 0)
    assert not world.commit(frozen, 0, ends=True)
    assert not end(world, lifecycle.complete, frozen, Outcome.SUCCEEDED)
    assert not end(world, lifecycle.fail, frozen, FailureKind.STEP_TIMEOUT, "late")
    assert not end(world, lifecycle.release, frozen)
    assert world.commit(thief, 0)


def test_a_worker_that_lost_its_claim_cannot_write_before_the_next_one(world: World) -> None:
    """Recovered but not claimed again: the epoch is still its own, only the status tells."""
    frozen = world.must_claim()
    world.lose_worker()
    world.recover()
    assert world.row().epoch == frozen.epoch
    assert not world.commit(frozen, 0)
    assert not end(world, lifecycle.complete, frozen, Outcome.SUCCEEDED)
    assert not end(world, lifecycle.release, frozen)


def test_a_step_is_committed_once_however_often_it_is_tried(world: World) -> None:
    """Whose connection broke during a commit cannot know what became of it, and tries again."""
    claim = world.must_claim()
    assert world.commit(claim, 0, thought="first")
    assert world.commit(claim, 0, thought="again")
    assert not world.commit(claim, 2)
    assert not world.commit(claim, 2, ends=True)
    assert world.row().status == "running"
    assert world.row().interaction_count == 1
    with world.store.read() as connection:
        assert connection.scalars(select(Tables.interaction.c.thought)).all() == ["first"]


def test_another_claims_step_is_not_taken_for_ones_own(world: World) -> None:
    frozen = world.must_claim()
    world.lose_worker()
    world.recover()
    thief = world.claim(make_lease(world.store))
    assert thief is not None
    assert world.commit(thief, 0)
    assert not world.commit(frozen, 0)


def test_the_last_step_completes_in_the_same_write(world: World) -> None:
    claim = world.must_claim()
    assert world.commit(claim, 0, ends=True, outcome=Outcome.SUCCEEDED)
    row = world.row()
    assert (row.status, row.outcome) == ("completed", "succeeded")
    assert row.finished_at is not None
    assert world.events()[-2:] == [("interaction", 0), ("status", "completed")]


def test_commits_and_cancel_at_once_leave_what_was_told(world: World) -> None:
    claim = world.must_claim()
    committed, cancelled = [], []

    def commit() -> None:
        for index in range(20):
            if not world.commit(claim, index):
                break
            committed.append(index)

    def cancel() -> None:
        cancelled.extend(world.cancel())

    threads = [threading.Thread(target=commit), threading.Thread(target=cancel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cancelled == [world.participant_id]
    assert world.row().interaction_count == len(committed)


# -- ends --------------------------------------------------------------------------------------------------


def end(world: World, move: Callable[..., bool], *arguments: Any) -> bool:
    return world.store.write(lambda connection: move(connection, *arguments, 7))


def test_a_failure_tells_why(world: World) -> None:
    claim = world.must_claim()
    assert end(world, lifecycle.fail, claim, FailureKind.STEP_TIMEOUT, "too slow")
    row = world.row()
    assert (row.status, row.error_kind, row.error_message) == ("failed", "step_timeout", "too slow")


@pytest.mark.parametrize("terminal", ["completed", "failed", "cancelled"])
def test_a_terminal_row_never_changes(world: World, terminal: str) -> None:
    claim = world.must_claim()
    if terminal == "completed":
        end(world, lifecycle.complete, claim, None)
    elif terminal == "failed":
        end(world, lifecycle.fail, claim, FailureKind.RUN_TIMEOUT, "x")
    else:
        world.cancel()
    before = world.row()
    assert world.claim() is None
    assert not world.commit(claim, 0)
    assert not end(world, lifecycle.complete, claim, None)
    assert not end(world, lifecycle.fail, claim, FailureKind.RUN_TIMEOUT, "y")
    assert not end(world, lifecycle.release, claim)
    assert world.cancel() == []
    world.lose_worker()
    assert world.recover() == []
    assert world.row() == before


def test_a_release_costs_no_attempt_and_goes_first(world: World) -> None:
    claim = world.must_claim()
    assert end(world, lifecycle.release, claim)
    row = world.row()
    assert (row.status, row.attempt, row.worker_id, row.dispatched_at) == ("pending", 0, None, None)
    assert row.queue == "simulations.recovered"


# -- cancel ------------------------------------------------------------------------------------------------


def test_of_many_cancels_at_once_one_wins(world: World) -> None:
    answers = at_once(8, world.cancel)
    assert sorted(map(len, answers)) == [0] * 7 + [1]


def test_cancel_keeps_to_its_workspace(world: World) -> None:
    other = make_workspace(world.store, "other").workspace_id
    moved = world.store.write(lambda connection: lifecycle.cancel(connection, other, [world.participant_id]))
    assert moved == {}
    assert world.row().status == "pending"


def test_a_draft_is_not_cancelled(world: World) -> None:
    row = world.row()
    (draft,) = make_participants(world.store, world.workspace_id, row.study_id, row.iteration_id, status=Status.DRAFT)
    moved = world.store.write(lambda connection: lifecycle.cancel(connection, world.workspace_id, [draft]))
    assert moved == {}
    assert world.row(draft).status == "draft"


# -- stopped_at --------------------------------------------------------------------------------------------


def mark_stopped(world: World, held: Claim | None = None) -> list[UUID]:
    told = world.store.write(lambda connection: stops.record_stop(connection, world.participant_id, claim=held))
    assert all(0 <= stop.after_s < 600 for stop in told)
    return [stop.participant_id for stop in told]


def record_stops(world: World, after_s: float) -> list[UUID]:
    told = world.store.write(lambda connection: stops.record_stops(connection, after_s, 10))
    return [stop.participant_id for stop in told]


def test_the_stop_of_a_queued_one_is_known_at_once(world: World) -> None:
    world.cancel()
    assert mark_stopped(world) == [world.participant_id]
    assert world.row().stopped_at is not None


def test_the_stop_is_recorded_once(world: World) -> None:
    world.cancel()
    mark_stopped(world)
    before = world.row()
    assert mark_stopped(world) == []
    assert world.row() == before


def test_while_a_living_worker_holds_it_only_that_one_can_tell(world: World) -> None:
    claim = world.must_claim()
    world.cancel()
    assert mark_stopped(world) == []
    assert mark_stopped(world, held=claim._replace(epoch=claim.epoch + 1)) == []
    assert mark_stopped(world, held=claim) == [world.participant_id]


def test_a_dead_workers_run_has_stopped(world: World) -> None:
    world.must_claim()
    world.cancel()
    world.lose_worker()
    assert record_stops(world, after_s=60) == [world.participant_id]
    assert mark_stopped(world) == []


def test_after_the_grace_the_stop_is_assumed(world: World) -> None:
    world.must_claim()
    world.cancel()
    assert record_stops(world, after_s=60) == []
    assert record_stops(world, after_s=-1) == [world.participant_id]
    assert record_stops(world, after_s=-1) == []


def test_what_was_not_cancelled_has_not_stopped(world: World) -> None:
    assert record_stops(world, after_s=-1) == []
    assert mark_stopped(world) == []
    assert world.row().stopped_at is None


# -- recovery ----------------------------------------------------------------------------------------------


def test_a_living_workers_runs_are_left_alone(world: World) -> None:
    world.must_claim()
    assert world.recover() == []
    assert world.row().status == "running"


def test_a_lost_run_is_pending_again_ahead_of_new_work(world: World) -> None:
    world.commit(world.must_claim(), 0)
    world.lose_worker()
    assert world.recover() == [world.participant_id]
    row = world.row()
    assert (row.status, row.attempt, row.queue, row.interaction_count) == (
        "pending",
        1,
        "simulations.recovered",
        1,
    )


def lose_again(world: World) -> Any:
    claim = world.claim(make_lease(world.store, ttl_s=0.0))
    if claim is None:
        # A lease of no length cannot claim; a living one can, and is then lost.
        worker_id = make_lease(world.store)
        assert world.claim(worker_id) is not None
        world.store.write(lambda connection: leases.expire_lease(connection, worker_id))
    world.recover()
    return world.row()


def test_lost_twice_without_progress_it_runs_alone_then_fails(world: World) -> None:
    assert lose_again(world).queue == "simulations.recovered"
    assert lose_again(world).queue == "simulations.alone"
    row = lose_again(world)
    assert (row.status, row.error_kind, row.attempt) == ("failed", "stale_worker", 3)


def test_progress_forgives_earlier_losses(world: World) -> None:
    lose_again(world)
    lose_again(world)
    claim = world.must_claim()
    world.commit(claim, 0)
    assert world.row().attempt == 0


def test_two_sweepers_move_a_row_once(world: World) -> None:
    world.must_claim()
    world.lose_worker()
    moved = at_once(4, world.recover)
    assert sorted(map(len, moved)) == [0, 0, 0, 1]
    assert world.row().attempt == 1


def test_a_lease_that_ran_out_is_not_renewed(world: World) -> None:
    renew: Callable[[Connection], bool] = lambda connection: leases.renew_lease(  # noqa: E731
        connection, world.worker_id, 60
    )
    assert world.store.write(renew)
    world.lose_worker()
    assert not world.store.write(renew)


def at_once(count: int, work: Callable[[], Any]) -> list[Any]:
    """What `count` threads get that do `work` at the same time."""
    answers: list[Any] = []
    barrier = threading.Barrier(count)

    def wait_and_work() -> None:
        barrier.wait()
        answers.append(work())

    threads = [threading.Thread(target=wait_and_work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == count
    return answers


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_lock_of_one_that_was_cut_off_keeps_nobody_from_recovering(world: World, store_url: str) -> None:
    """In mid-transaction: the server would wait for it for hours."""
    claim = world.must_claim()
    cut_off = Store(store_url, idle_timeout_s=1)
    with cut_off.engine.connect() as connection:
        connection.execute(select(_p.c.id).where(_p.c.id == claim.participant_id).with_for_update())
        world.lose_worker()
        assert world.recover() == []
        wait_until(world.recover, what="its lock is gone")
        connection.invalidate()
    cut_off.dispose()
