"""The state and the text that Celery's tools show of a run message."""

import pytest
from celery.exceptions import Ignore, Retry, Terminated

from understudy.domain.lifecycle import FailureKind, Status
from understudy.queue.celery.pool import TaskFailure
from understudy.store.run_states import RunState
from understudy.worker.claims import RunReport, RunResult
from understudy.worker.task_states import FAILURES, UnknownParticipant, show

ID = "0198f1a2-0000-7000-8000-00000000000a"
COMPLETED = RunState(Status.COMPLETED, "gave_up", 7, 1)
FAILED = RunState(Status.FAILED, "step_timeout", 3, 1)
CANCELLED = RunState(Status.CANCELLED, None, 3, 1)
RUNNING = RunState(Status.RUNNING, None, 3, 1)
PENDING = RunState(Status.PENDING, None, 3, 1)


def shown(result: RunResult, state: RunState | None, number: int = 1) -> str:
    try:
        return show(RunReport(result, state), f"{ID}.{number}")
    except Retry as error:
        return f"RETRY {error.exc!r}"
    except TaskFailure as error:
        return repr(error)


@pytest.mark.parametrize("result", [RunResult.ENDED, RunResult.STOPPED, RunResult.DROPPED])
def test_show_of_an_ended_participant_tells_how_it_ended(result: RunResult) -> None:
    # Also for a stale message: it must not turn a failure into a success.
    assert shown(result, COMPLETED) == "gave_up after 7 interactions"
    assert shown(result, COMPLETED._replace(reason=None)) == "completed after 7 interactions"
    assert shown(result, FAILED) == "StepTimeout('step_timeout after 3 interactions')"
    with pytest.raises(Terminated):
        show(RunReport(result, CANCELLED), f"{ID}.1")


def test_every_kind_of_failure_has_a_name_of_its_own() -> None:
    names = {kind: failure.__name__ for kind, failure in FAILURES.items()}
    assert names == {
        FailureKind.ENVIRONMENT_ERROR: "EnvironmentError",
        FailureKind.SIMULATOR_ERROR: "SimulatorError",
        FailureKind.STEP_TIMEOUT: "StepTimeout",
        FailureKind.RUN_TIMEOUT: "RunTimeout",
        FailureKind.STALE_WORKER: "StaleWorker",
    }


@pytest.mark.parametrize(
    ("result", "state", "text"),
    [
        (RunResult.RELEASED, None, "released"),
        (RunResult.UNKNOWN, None, "store unavailable"),
        (RunResult.STOPPED, RUNNING._replace(dispatch_no=2), f"replaced by {ID}.2"),
        (RunResult.DROPPED, PENDING._replace(dispatch_no=3), f"replaced by {ID}.3"),
        (RunResult.DROPPED, PENDING, "is pending"),
    ],
)
def test_show_of_a_run_that_continues_elsewhere_is_a_retry(
    result: RunResult, state: RunState | None, text: str
) -> None:
    assert shown(result, state).startswith("RETRY RunContinues(")
    assert text in shown(result, state)


def test_show_of_a_message_delivered_twice_changes_nothing() -> None:
    with pytest.raises(Ignore):
        show(RunReport(RunResult.DROPPED, RUNNING), f"{ID}.1")


def test_show_of_an_unknown_participant_is_a_failure() -> None:
    with pytest.raises(UnknownParticipant):
        show(RunReport(RunResult.DROPPED), f"{ID}.1")
