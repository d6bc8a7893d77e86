"""The queues of runs and stops, which of them comes first, and the ids of run messages.

Stable strings: older and newer processes share them.
"""

import re
from enum import StrEnum
from uuid import UUID


class Queue(StrEnum):
    """Where run and stop messages wait."""

    #: Runs that start.
    RUNS = "simulations"
    #: Runs that extend others: somebody just asked for one.
    RESUME = "simulations.resume"
    #: Runs that were lost or given back; consumed first.
    RECOVERED = "simulations.recovered"
    #: Runs whose worker died under them more than once: one at a time, in a process of their own.
    QUARANTINE = "simulations.alone"
    #: Stop tasks, in a process of their own: a full house of runs never delays a stop.
    CONTROL = "control"


#: Queues of runs, the most urgent first.
QUEUE_PRIORITY = (Queue.RECOVERED, Queue.RESUME, Queue.RUNS)


def task_id(participant_id: object, dispatch_no: int) -> str:
    """The Celery id of a run message; each publication has its own."""
    return f"{participant_id}.{dispatch_no}"


_RUN_MESSAGE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[0-9]+")


def parse_participant_id(id_: str) -> UUID | None:
    """Whose run message has the Celery id `id_`; None when it is not one of a run message."""
    found = _RUN_MESSAGE.fullmatch(id_)
    return UUID(found[1]) if found else None
