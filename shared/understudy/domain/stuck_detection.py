"""Does a participant hang? A hint made of facts that the store holds; nothing acts on it.

A run that is lost is taken up again, and a message that is lost is sent again, both within seconds: who is
quiet for longer than that waits for something that somebody has to look at.
"""

from typing import NamedTuple

from understudy.domain.lifecycle import Status

#: So long a run message may be owed before it is remarkable: many are sent a thousand at a time.
PUBLISH_GRACE_S = 60.0


class RecoveryTimes(NamedTuple):
    """How long the fleet takes to notice that a worker is lost; settings of these names."""

    lease_ttl_s: float
    sweep_interval_s: float

    @property
    def recovery_s(self) -> float:
        """From the loss of a worker until its participants are pending again."""
        return self.lease_ttl_s + self.sweep_interval_s


class ParticipantActivity(NamedTuple):
    """How a participant stands, as its row tells."""

    status: Status
    #: Seconds since anything happened to it: a move to another status, or an interaction.
    idle_s: float
    #: How long one of its steps may take.
    step_timeout_s: float
    #: Was a run message sent since it became pending?
    sent: bool


def stuck_reason(standing: ParticipantActivity, live_workers: int, patience: RecoveryTimes) -> str | None:
    """Why it is likely stuck, in words for whoever runs the fleet; None while all may be well."""
    quiet = f"{standing.idle_s:.0f} s"
    if standing.status is Status.RUNNING:
        if standing.idle_s <= standing.step_timeout_s + patience.recovery_s:
            return None
        return (
            f"No interaction for {quiet}, though a step may take {standing.step_timeout_s:g} s and a lost "
            f"worker is noticed within {patience.recovery_s:g} s. Does a sweeper run?"
        )
    if standing.status is not Status.PENDING:
        return None
    if not live_workers and standing.idle_s > patience.recovery_s:
        return f"It has waited for {quiet}, and no worker is alive."
    if not standing.sent and standing.idle_s > PUBLISH_GRACE_S:
        return f"Its message has been owed for {quiet}. Check the broker and the sweeper."
    return None
