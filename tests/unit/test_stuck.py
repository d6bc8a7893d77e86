"""When a participant is likely stuck."""

import pytest

from understudy.domain.lifecycle import TERMINAL, Status
from understudy.domain.stuck_detection import ParticipantActivity, RecoveryTimes, stuck_reason

RECOVERY = RecoveryTimes(lease_ttl_s=9, sweep_interval_s=1)
INACTIVE = TERMINAL | {Status.DRAFT}


@pytest.mark.parametrize(
    ("status", "quiet_s", "workers", "sent", "reason"),
    [
        (Status.RUNNING, 70, 1, True, None),
        (Status.RUNNING, 70.6, 1, True, "71 s"),
        (Status.RUNNING, 70.6, 1, True, "60 s"),
        (Status.RUNNING, 70.6, 1, True, "10 s"),
        (Status.PENDING, 86_400, 1, True, None),
        (Status.PENDING, 10, 0, True, None),
        (Status.PENDING, 10.1, 0, True, "no worker has a live lease"),
        (Status.PENDING, 60, 1, False, None),
        (Status.PENDING, 61, 1, False, "unpublished for 61 s"),
        *((status, 1e9, 0, False, None) for status in sorted(INACTIVE)),
    ],
)
def test_a_participant_is_stuck_after_its_bound(
    status: Status, quiet_s: float, workers: int, *, sent: bool, reason: str | None
) -> None:
    activity = ParticipantActivity(status, quiet_s, step_timeout_s=60, sent=sent)
    found = stuck_reason(activity, workers, RECOVERY)
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")
