"""Detects participants that are likely stuck: a hint from facts in the store; nothing acts on it.

Lost runs are recovered and lost messages republished within seconds. A participant that is idle for longer
needs an operator's attention.
"""

from collections.abc import Mapping
from typing import NamedTuple

from understudy.domain.holds import Hold
from understudy.domain.lifecycle import Status
from understudy.domain.queues import WorkerKind

#: Seconds that a run message may be unpublished without notice while there is room for it.
PUBLISH_GRACE_S = 60.0


class RecoveryTimes(NamedTuple):
    """Times until the fleet detects a lost worker; settings of the same names."""

    lease_ttl_s: float
    sweep_interval_s: float

    @property
    def recovery_s(self) -> float:
        """Returns the seconds from the loss of a worker until its participants are pending again."""
        return self.lease_ttl_s + self.sweep_interval_s


class ParticipantActivity(NamedTuple):
    """The activity of a participant, as its row shows."""

    status: Status
    #: Seconds since the last status change or interaction.
    idle_s: float
    #: Maximum seconds of one of its steps.
    step_timeout_s: float
    #: Whether its run message was published since it became pending.
    sent: bool
    #: Why it may not run yet, if it may not.
    hold: Hold | None
    #: Whether it may have to wait until other messages leave the window.
    window_is_full: bool
    #: The kind of worker that runs it.
    kind: WorkerKind
    #: Whether the stop of its run is still to be recorded, if it is cancelled.
    stopping: bool


def stuck_reason(
    activity: ParticipantActivity, live_workers: Mapping[WorkerKind, int], times: RecoveryTimes
) -> str | None:
    """Returns why it is likely stuck, in words for operators; None if all may be well."""
    idle = f"{activity.idle_s:.0f} s"
    if activity.status is Status.RUNNING:
        if activity.idle_s <= activity.step_timeout_s + times.recovery_s:
            return None
        return (
            f"No interaction for {idle}, though a step may take {activity.step_timeout_s:g} s and a lost "
            f"worker is detected within {times.recovery_s:g} s. Check that a sweeper runs."
        )
    if activity.status is Status.CANCELLED:
        if activity.stopping and activity.idle_s > times.recovery_s and not live_workers[WorkerKind.CONTROL]:
            return f"Cancelled for {idle} without a stop record. {missing_worker(WorkerKind.CONTROL)}"
        return None
    if activity.status is not Status.PENDING:
        return None
    if activity.hold is not None:
        # Limits only delay; a pause waits for somebody.
        return activity.hold.sentence if activity.hold.is_pause else None
    if not live_workers[activity.kind] and activity.idle_s > times.recovery_s:
        return f"Pending for {idle}. {missing_worker(activity.kind)}"
    if not activity.sent and not activity.window_is_full and activity.idle_s > PUBLISH_GRACE_S:
        return f"Its run message has been unpublished for {idle}. Check the broker and the sweeper."
    return None


def missing_worker(kind: WorkerKind) -> str:
    """Returns the sentence for callers if no worker of this kind is alive."""
    return f"No {kind.label} worker has a live lease. {kind.advice}"
