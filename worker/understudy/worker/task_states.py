"""What Celery's tools show of a run message: its state and a short text. Only the row says how a participant is.

A state is shown, never stored or read back. Texts have ids and words of ours: an operator who sees them belongs to no
workspace.
"""

from uuid import UUID

from celery import states
from celery.exceptions import Ignore, Retry, Terminated

from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import ACTIVE, FailureKind, Status
from understudy.domain.queues import task_id
from understudy.queue.celery.pool import TaskFailure
from understudy.store.engine import Store
from understudy.store.run_states import RunState, load_run_states
from understudy.worker.claims import RunReport, RunResult


class ParticipantFailed(TaskFailure):
    """The participant failed."""


class UnknownParticipant(TaskFailure):
    """No participant has the id of the message."""


class RunContinues(Exception):
    """The run ended here without an end of the participant."""


def _failure_type(kind: FailureKind) -> type[ParticipantFailed]:
    name = "".join(word.title() for word in kind.value.split("_"))
    return type(name, (ParticipantFailed,), {"__doc__": f"The participant failed with `{kind}`."})


#: By kind, because tools count failures by the name of the exception.
FAILURES = {kind: _failure_type(kind) for kind in FailureKind}


def show(report: RunReport, message_id: str) -> str:
    """Returns the text of a completed participant.

    Raises ParticipantFailed or UnknownParticipant (Celery's FAILURE), Terminated (REVOKED), Retry (RETRY: the
    participant continues with another message) or Ignore (the state stays as it is).
    """
    state = report.state
    if report.result is RunResult.UNKNOWN:
        raise _continues("store unavailable: the run continues when its lease has expired")
    if report.result is RunResult.RELEASED:
        raise _continues("released: the participant is pending, and continues with another message")
    if state is None:
        raise UnknownParticipant(message_id)
    if state.status is Status.CANCELLED:
        raise Terminated
    if state.status is Status.FAILED:
        kind = FailureKind(state.reason or "")
        raise FAILURES[kind](f"{kind} after {state.interactions} interactions")
    if state.status is Status.COMPLETED:
        return f"{state.reason or state.status} after {state.interactions} interactions"
    return _show_active(state, message_id)


def read_state(store: Store, participant_id: UUID) -> dict[str, str | None] | None:
    """Returns state, result and failure of a participant as Celery names them; None if the store is unavailable."""
    try:
        with store.read() as connection:
            state = load_run_states(connection, [participant_id]).get(participant_id)
    except ServiceUnavailable:
        return None
    if state is not None and state.status in ACTIVE:
        name = states.STARTED if state.status is Status.RUNNING else states.PENDING
        return {"state": name, "result": f"{state.status} after {state.interactions} interactions", "failure": None}
    try:
        result = show(RunReport(RunResult.ENDED, state), str(participant_id))
    except Terminated:
        return {"state": states.REVOKED, "result": "cancelled", "failure": "TaskRevokedError"}
    except TaskFailure as failure:
        return {"state": states.FAILURE, "result": str(failure), "failure": type(failure).__name__}
    return {"state": states.SUCCESS, "result": result, "failure": None}


def _show_active(state: RunState, message_id: str) -> str:
    participant_id, _, _ = message_id.rpartition(".")
    latest = task_id(participant_id, state.dispatch_no)
    if latest != message_id:
        raise _continues(f"replaced by {latest}")
    if state.status is Status.RUNNING:
        # A message that was delivered twice: its first delivery reports the end.
        raise Ignore
    raise _continues("the participant is pending, and continues with another message")


def _continues(text: str) -> Retry:
    return Retry(exc=RunContinues(text))
