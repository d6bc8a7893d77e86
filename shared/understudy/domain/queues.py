"""The queues of runs and stop tasks, their priority, the workers that serve them, and the ids of run messages.

The strings are stable: older and newer processes share them.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID


class Queue(StrEnum):
    """Queues of run messages and stop tasks."""

    #: New runs.
    RUNS = "simulations"
    #: Runs of children: a caller has just requested them.
    RESUME = "simulations.resume"
    #: Recovered and released runs; consumed first.
    RECOVERED = "simulations.recovered"
    #: Runs that lost their worker more than once: one at a time, in a separate process.
    QUARANTINE = "simulations.alone"
    #: Stop tasks, in a separate process: busy run slots never delay a stop.
    CONTROL = "control"


#: Losses since its last interaction from which a participant runs in quarantine.
QUARANTINE_ATTEMPT = 2

#: Queues of runs, highest priority first.
QUEUE_PRIORITY = (Queue.RECOVERED, Queue.RESUME, Queue.RUNS)


class WorkerKind(StrEnum):
    """Kinds of worker processes. A complete fleet has one of each."""

    RUN = "run"
    QUARANTINE = "alone"
    CONTROL = "control"

    @property
    def advice(self) -> str:
        """Returns what to do if none is alive."""
        option = {WorkerKind.QUARANTINE: " --quarantine", WorkerKind.CONTROL: " --control"}.get(self, "")
        return f"Start one: `understudy worker{option}`."

    @property
    def label(self) -> str:
        """Returns its name in texts."""
        return {WorkerKind.RUN: "run", WorkerKind.QUARANTINE: "quarantine", WorkerKind.CONTROL: "control"}[self]


def count_simulating(live: Mapping[WorkerKind, int]) -> int:
    """Returns how many of the live workers run simulations."""
    return live[WorkerKind.RUN] + live[WorkerKind.QUARANTINE]


def kind_for_queue(queue: str) -> WorkerKind:
    """Returns the kind of worker that runs participants of this queue."""
    return WorkerKind.QUARANTINE if queue == Queue.QUARANTINE else WorkerKind.RUN


def task_id(participant_id: object, dispatch_no: int) -> str:
    """Returns the Celery id of a run message; each publication has a different one."""
    return f"{participant_id}.{dispatch_no}"


def previous_message(id_: str) -> str | None:
    """Returns the Celery id of the run message that the one with Celery id `id_` replaces; None for the first."""
    found = _RUN_MESSAGE.fullmatch(id_)
    return task_id(found[1], int(found[2]) - 1) if found and found[2] != "1" else None


def stop_task_id(run_task_id: str) -> str:
    """Returns the Celery id of the stop task of the run message with that id."""
    return f"{run_task_id}.stop"


_RUN_MESSAGE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([1-9][0-9]{0,8})")


def is_run_message_of(id_: str, participant_id: str) -> bool:
    """Returns whether `id_` is the Celery id of a run message of the participant with that id."""
    found = _RUN_MESSAGE.fullmatch(id_)
    return found is not None and found[1] == participant_id


def parse_participant_id(id_: str) -> UUID | None:
    """Returns the participant of the run message with Celery id `id_`; None if it is not a run message's."""
    found = _RUN_MESSAGE.fullmatch(id_)
    return UUID(found[1]) if found else None


def parse_dispatch_no(id_: str) -> int | None:
    """Returns the number of the publication of the run message with Celery id `id_`; None if it is no such id."""
    found = _RUN_MESSAGE.fullmatch(id_)
    return int(found[2]) if found else None
