"""Run messages without effect: lost, published again, or stale. Each fault may cause a few, never a storm."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

#: A fault that begins so many seconds before a participant is pending may still void its messages.
EFFECT_S = 10
#: Per participant: messages without effect for each fault during its pending time.
MAX_PER_INCIDENT = 0.5
#: Per participant: wrong guesses of the sweeper, each of which costs one stale message.
MAX_WITHOUT_INCIDENT = 2


class VoidMessages(NamedTuple):
    """The run messages of one participant that started nothing."""

    participant_id: str
    count: int
    #: Faults that began while it was pending, or shortly before.
    incidents: int

    @property
    def is_too_many(self) -> bool:
        return self.count > MAX_WITHOUT_INCIDENT + MAX_PER_INCIDENT * self.incidents


def void_messages(row: Any, events: Sequence[Any], incidents: Sequence[float]) -> VoidMessages:
    """Counts those of a participant with these events. Each pending time needs one message.

    `incidents` are the times at which faults began, by the wall clock.
    """
    times = list(_pending_times(events))
    during = [at for at in incidents if any(begin - EFFECT_S < at < end for begin, end in times)]
    return VoidMessages(str(row.id), max(row.dispatch_no - len(times), 0), len(during))


def _pending_times(events: Sequence[Any]) -> Iterator[tuple[float, float]]:
    statuses = [event for event in events if event.kind == "status"]
    for index, event in enumerate(statuses):
        if event.data["status"] == "pending":
            ended = statuses[index + 1 : index + 2]
            yield event.at.timestamp(), ended[0].at.timestamp() if ended else float("inf")
