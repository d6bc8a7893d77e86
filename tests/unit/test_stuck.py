"""When a participant is likely stuck."""

import pytest

from understudy.domain.lifecycle import TERMINAL, Status
from understudy.domain.stuck_detection import ParticipantActivity, RecoveryTimes, stuck_reason

PATIENCE = RecoveryTimes(lease_ttl_s=9, sweep_interval_s=1)


def why(status: Status, quiet_s: float, *, workers: int = 1, sent: bool = True) -> str | None:
    return stuck_reason(ParticipantActivity(status, quiet_s, step_timeout_s=60, sent=sent), workers, PATIENCE)


def test_who_runs_may_take_as_long_as_a_step_and_a_recovery_may() -> None:
    assert why(Status.RUNNING, 70) is None
    told = why(Status.RUNNING, 70.6)
    assert told is not None
    assert "71 s" in told
    assert "60 s" in told
    assert "10 s" in told


def test_who_waits_while_workers_live_just_waits_for_its_turn() -> None:
    assert why(Status.PENDING, 86_400) is None


def test_who_waits_while_no_worker_lives_waits_in_vain() -> None:
    assert why(Status.PENDING, 10, workers=0) is None
    assert "no worker has a live lease" in str(why(Status.PENDING, 10.1, workers=0))


def test_who_waits_for_a_message_that_nobody_sends_waits_in_vain() -> None:
    assert why(Status.PENDING, 60, sent=False) is None
    assert "unpublished for 61 s" in str(why(Status.PENDING, 61, sent=False))


@pytest.mark.parametrize("status", sorted(TERMINAL | {Status.DRAFT}))
def test_who_was_not_dispatched_or_is_through_is_never_stuck(status: Status) -> None:
    assert why(status, 1e9, workers=0, sent=False) is None
