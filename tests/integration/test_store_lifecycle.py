"""The guard of each write of the lifecycle, on both stores: promises P1 to P5. `test_races.py` has the races."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from tests.factories import StudyStore, make_lease, make_step, make_workspace
from tests.servers import wait_until
from understudy.domain.lifecycle import FailureKind, Outcome, Status
from understudy.store import leases, lifecycle, recovery, stops
from understudy.store.engine import Store
from understudy.store.guards import Claim
from understudy.store.schema import Tables


@pytest.fixture
def study(store: Store) -> StudyStore:
    return StudyStore(store)


def all_writes(study: StudyStore, claim: Claim) -> list[bool]:
    """The result of each write that a run can make with `claim`."""
    return [
        study.write(lifecycle.commit_step, claim, make_step(0), 7),
        study.write(lifecycle.commit_step, claim, make_step(0, ends=True), 7),
        study.write(lifecycle.complete, claim, Outcome.SUCCEEDED, 7),
        study.write(lifecycle.fail, claim, FailureKind.STEP_TIMEOUT, "late", 7),
        study.write(lifecycle.release, claim, 7),
        study.write(recovery.lose, claim, 7, 3) is not None,
    ]


# -- claim -------------------------------------------------------------------------------------------------


def test_claim_raises_the_epoch_and_names_the_worker(study: StudyStore) -> None:
    assert study.must_claim().epoch == 1
    row = study.row()
    assert (row.status, row.epoch, row.worker_id) == ("running", 1, study.worker_id)
    assert row.started_at is not None


def test_claim_of_a_running_or_cancelled_participant_returns_none(study: StudyStore) -> None:
    study.must_claim()
    assert study.claim() is None
    study.cancel()
    assert study.claim() is None
    assert study.row().epoch == 1


def test_claim_with_an_expired_lease_returns_none(study: StudyStore) -> None:
    study.expire_lease()
    assert study.claim() is None
    assert study.row().status == "pending"


def test_renew_of_an_expired_lease_returns_false(study: StudyStore) -> None:
    assert study.write(leases.renew_lease, study.worker_id, 60)
    study.expire_lease()
    assert not study.write(leases.renew_lease, study.worker_id, 60)


# -- commit ------------------------------------------------------------------------------------------------


def test_commit_stores_the_interaction_and_the_checkpoint(study: StudyStore) -> None:
    claim = study.must_claim()
    assert [study.commit(claim, index) for index in (0, 1)] == [True, True]
    with study.store.read() as connection:
        states = connection.scalars(select(Tables.checkpoint.c.state)).all()
    assert states == [{"memory": {}, "environment": {"page": 1}}]
    assert (study.row().interaction_count, study.row().claimed_ms) == (2, 10)


def test_commit_after_a_cancel_stores_nothing(study: StudyStore) -> None:
    claim = study.must_claim()
    study.commit(claim, 0)
    assert study.cancel() == [study.id_]
    assert not study.commit(claim, 1)
    assert study.row().interaction_count == 1


@pytest.mark.parametrize("is_claimed_again", [True, False])
def test_worker_that_lost_its_claim_writes_nothing(study: StudyStore, is_claimed_again: bool) -> None:
    """After the next claim, only the epoch distinguishes the claims; before it, only the status."""
    stale = study.must_claim()
    study.expire_lease()
    study.recover()
    if is_claimed_again:
        claim = study.must_claim(worker_id=make_lease(study.store))
        assert all_writes(study, stale) == [False] * 6
        # A stored step of the same index is not an earlier attempt of the stale claim.
        assert [study.commit(claim, 0), study.commit(stale, 0)] == [True, False]
    else:
        assert study.row().epoch == stale.epoch
        assert all_writes(study, stale) == [False] * 6


def test_commit_is_stored_once_although_it_is_repeated(study: StudyStore) -> None:
    """A worker that lost its connection during a commit cannot know the result, and repeats the commit."""
    claim = study.must_claim()
    assert study.commit(claim, 0, thought="first")
    assert study.commit(claim, 0, thought="again")
    assert not study.commit(claim, 2)
    assert not study.commit(claim, 2, ends=True)
    assert (study.row().status, study.row().interaction_count) == ("running", 1)
    with study.store.read() as connection:
        assert connection.scalars(select(Tables.interaction.c.thought)).all() == ["first"]


def test_last_commit_also_completes_the_participant(study: StudyStore) -> None:
    assert study.commit(study.must_claim(), 0, ends=True, outcome=Outcome.SUCCEEDED)
    row = study.row()
    assert (row.status, row.outcome) == ("completed", "succeeded")
    assert row.finished_at is not None
    with study.store.read() as connection:
        events = connection.execute(select(Tables.event).filter_by(participant_id=study.id_).order_by("seq")).all()
    assert [(event.kind, event.data.get("status")) for event in events[-2:]] == [
        ("interaction", None),
        ("status", "completed"),
    ]


# -- ends --------------------------------------------------------------------------------------------------


def test_fail_stores_the_kind_and_the_message(study: StudyStore) -> None:
    assert study.write(lifecycle.fail, study.must_claim(), FailureKind.STEP_TIMEOUT, "too slow", 7)
    row = study.row()
    assert (row.status, row.error_kind, row.error_message) == ("failed", "step_timeout", "too slow")


@pytest.mark.parametrize("terminal", ["completed", "failed", "cancelled"])
def test_terminal_row_never_changes(study: StudyStore, terminal: str) -> None:
    claim = study.must_claim()
    if terminal == "completed":
        study.write(lifecycle.complete, claim, None, 7)
    elif terminal == "failed":
        study.write(lifecycle.fail, claim, FailureKind.RUN_TIMEOUT, "x", 7)
    else:
        study.cancel()
    before = study.row()
    assert before.status == terminal
    assert study.claim() is None
    assert all_writes(study, claim) == [False] * 6
    assert study.cancel() == []
    study.expire_lease()
    assert study.recover() == []
    assert study.row() == before


def test_release_costs_no_attempt_and_uses_the_recovered_queue(study: StudyStore) -> None:
    assert study.write(lifecycle.release, study.must_claim(), 7)
    row = study.row()
    assert (row.status, row.attempt, row.worker_id, row.dispatched_at) == ("pending", 0, None, None)
    assert row.queue == "simulations.recovered"


# -- cancel ------------------------------------------------------------------------------------------------


def test_cancel_by_another_workspace_changes_nothing(study: StudyStore) -> None:
    other = make_workspace(study.store, "other").workspace_id
    assert study.write(lifecycle.cancel, other, [study.id_]) == {}
    assert study.row().status == "pending"


def test_cancel_of_a_draft_changes_nothing(study: StudyStore) -> None:
    (draft,) = study.participants(status=Status.DRAFT)
    assert study.cancel(draft) == []
    assert study.row(draft).status == "draft"


# -- stopped_at --------------------------------------------------------------------------------------------


def record_stop(study: StudyStore, claim: Claim | None = None) -> list[UUID]:
    stopped = study.write(stops.record_stop, study.id_, claim=claim)
    assert all(0 <= stop.after_s < 600 for stop in stopped)
    return [stop.participant_id for stop in stopped]


def record_stops(study: StudyStore, after_s: float) -> list[UUID]:
    return [stop.participant_id for stop in study.write(stops.record_stops, after_s, 10)]


def test_stop_of_a_queued_participant_is_recorded_once(study: StudyStore) -> None:
    study.cancel()
    assert record_stop(study) == [study.id_]
    before = study.row()
    assert before.stopped_at is not None
    assert record_stop(study) == []
    assert study.row() == before


def test_stop_of_a_claim_with_a_live_lease_is_recorded_by_its_holder_only(study: StudyStore) -> None:
    claim = study.must_claim()
    study.cancel()
    assert record_stop(study) == []
    assert record_stop(study, claim._replace(epoch=claim.epoch + 1)) == []
    assert record_stop(study, claim) == [study.id_]
    assert record_stop(study, claim) == []


def test_stop_is_recorded_when_the_lease_has_expired(study: StudyStore) -> None:
    study.must_claim()
    study.cancel()
    study.expire_lease()
    assert record_stops(study, after_s=60) == [study.id_]
    assert record_stop(study) == []


def test_stop_is_recorded_after_the_grace_period(study: StudyStore) -> None:
    study.must_claim()
    study.cancel()
    assert record_stops(study, after_s=60) == []
    assert record_stops(study, after_s=-1) == [study.id_]
    assert record_stops(study, after_s=-1) == []


def test_stop_of_a_participant_that_was_not_cancelled_is_not_recorded(study: StudyStore) -> None:
    assert study.row().stopped_at is None
    assert record_stops(study, after_s=-1) == []
    assert record_stop(study) == []
    assert record_stop(study, study.must_claim()) == []
    assert study.row().stopped_at is None


# -- recovery ----------------------------------------------------------------------------------------------


def lose_run(study: StudyStore) -> Any:
    """Claims the participant, expires the lease and recovers; the row."""
    worker_id = make_lease(study.store)
    study.must_claim(worker_id=worker_id, quarantine=True)
    study.expire_lease(worker_id)
    study.recover()
    return study.row()


def test_recover_returns_a_run_to_pending_only_if_its_lease_has_expired(study: StudyStore) -> None:
    study.commit(study.must_claim(), 0)
    assert study.recover() == []
    assert study.row().status == "running"
    study.expire_lease()
    assert study.recover() == [study.id_]
    row = study.row()
    assert (row.status, row.attempt, row.queue, row.interaction_count) == ("pending", 1, "simulations.recovered", 1)


def test_participant_lost_twice_in_a_row_is_quarantined_and_then_fails(study: StudyStore) -> None:
    assert [lose_run(study).queue for _ in range(2)] == ["simulations.recovered", "simulations.alone"]
    row = lose_run(study)
    assert (row.status, row.error_kind, row.attempt) == ("failed", "stale_worker", 3)


def test_loss_that_a_worker_reports_counts_like_one_that_the_sweeper_finds(study: StudyStore) -> None:
    found = []
    for _ in range(3):
        claim = study.must_claim(worker_id=make_lease(study.store), quarantine=True)
        status = study.write(recovery.lose, claim, 7, 3)
        assert study.write(recovery.lose, claim, 7, 3) is None
        row = study.row()
        found.append((status, row.status, row.attempt, row.queue, row.error_kind))
    assert found == [
        ("pending", "pending", 1, "simulations.recovered", None),
        ("pending", "pending", 2, "simulations.alone", None),
        ("failed", "failed", 3, "simulations.alone", "stale_worker"),
    ]
    assert study.row().claimed_ms == 21


def test_commit_resets_the_attempts(study: StudyStore) -> None:
    lose_run(study)
    assert lose_run(study).attempt == 2
    claim = study.must_claim(quarantine=True)
    study.commit(claim, 0)
    assert study.row().attempt == 0
    study.write(lifecycle.release, claim, 7)
    assert study.row().queue == "simulations.recovered"


def test_release_of_a_participant_lost_twice_keeps_it_in_quarantine(study: StudyStore) -> None:
    lose_run(study)
    lose_run(study)
    assert study.write(lifecycle.release, study.must_claim(quarantine=True), 7)
    row = study.row()
    assert (row.status, row.attempt, row.queue) == ("pending", 2, "simulations.alone")


def test_stale_message_of_a_quarantined_participant_claims_nothing_outside_quarantine(study: StudyStore) -> None:
    lose_run(study)
    assert study.claim(worker_id=make_lease(study.store)), "one loss may be bad luck"
    study.expire_lease(study.row().worker_id)
    study.recover()
    assert study.row().attempt == 2
    assert study.claim(worker_id=make_lease(study.store)) is None
    assert study.claim(worker_id=make_lease(study.store), quarantine=True)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_recover_skips_a_row_that_is_locked_until_its_idle_transaction_is_ended(
    study: StudyStore, store_url: str
) -> None:
    """Without the timeout, the server would keep the lock of a disconnected client for hours."""
    study.must_claim()
    disconnected = Store(store_url, idle_timeout_s=1)
    with disconnected.engine.connect() as connection:
        connection.execute(select(Tables.participant.c.id).filter_by(id=study.id_).with_for_update())
        study.expire_lease()
        assert study.recover() == []
        wait_until(study.recover, what="the lock is released")
        connection.invalidate()
    disconnected.dispose()
