"""Names on the broker. Stable strings, never function paths: old and new processes meet on them."""

from enum import StrEnum


class Queue(StrEnum):
    """Where run and stop messages wait."""

    #: Runs that start.
    RUNS = "simulations"
    #: Runs that extend others: somebody just asked for one.
    RESUME = "simulations.resume"
    #: Runs that were lost or given back; consumed first.
    RECOVERED = "simulations.recovered"
    #: Runs whose worker died under them more than once: one at a time, in a process of their own.
    ALONE = "simulations.alone"
    #: Stop tasks, in a process of their own: a full house of runs never delays a stop.
    CONTROL = "control"


#: Queues of runs, the most urgent first.
URGENCY = (Queue.RECOVERED, Queue.RESUME, Queue.RUNS)

RUN_TASK = "simulation.run"
STOP_TASK = "simulation.stop"

#: Remote-control command that aborts the steps in flight of some participants.
ABORT_COMMAND = "abort_participants"

#: Channel on which processes tell that participants became terminal. A hint: the row decides.
NOTICE_CHANNEL = "understudy.notices"


def task_id(participant_id: object, dispatch_no: int) -> str:
    """The Celery id of a run message; each publication has its own."""
    return f"{participant_id}.{dispatch_no}"
