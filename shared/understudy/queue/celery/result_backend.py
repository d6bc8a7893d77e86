"""A Celery result backend without results: workers read the participants' rows for it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import states
from celery.backends.base import BaseBackend
from celery.contrib.abortable import ABORTED
from celery.exceptions import BackendError
from celery.worker.control import inspect_command
from click import ClickException

from understudy.domain.queues import parse_participant_id
from understudy.queue.celery.broadcasts import broadcast
from understudy.queue.names import REVOKE_COMMAND, STATE_COMMAND

#: Seconds to wait for the answer of a worker.
ANSWER_S = 2.0

#: Returns state, result and failure of a participant, as Celery names them; None if this worker does not know.
ReadState = Callable[[UUID], dict[str, str | None] | None]


class NoResult(ClickException):
    """The participant has no result (yet); the message says why."""


class NoWorkerAnswers(BackendError, ClickException):  # type: ignore[misc]
    """No control worker answers."""


class NullResultBackend(BaseBackend):  # type: ignore[misc]
    """Stores no results. It asks the workers how a participant is, and treats an abort as a revoke.

    Celery implements an abort as a stored result that the task polls.
    """

    def store_result(self, task_id: str, result: object, state: str, *_: Any, **__: Any) -> object:
        """Revokes an aborted task; raises BackendError for any other result."""
        if state != ABORTED:
            raise BackendError("this app stores no results; read the participants from the API")
        broadcast(self.app, REVOKE_COMMAND, {"task_id": task_id})
        return result

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:  # noqa: ARG002 - Celery's signature
        """Returns the state of a run message's participant. Raises NoResult or NoWorkerAnswers."""
        if parse_participant_id(task_id) is None:
            raise NoResult(f"{task_id} is no id of a run message, such as {UUID(int=0)}.1")
        answers = self.app.control.broadcast(STATE_COMMAND, {"message_id": task_id}, reply=True, timeout=ANSWER_S)
        known = [reply for answer in answers or () for reply in answer.values() if isinstance(reply, dict)]
        found = next((reply for reply in known if "state" in reply), None)
        if found is None:
            raise NoWorkerAnswers("no control worker answers; ask the API: understudy get")
        result: Any = found["result"]
        if found["state"] in states.EXCEPTION_STATES:
            result = type(str(found["failure"]), (NoResult,), {})(f"{found['failure']}: {result}")
        return {"task_id": task_id, "status": found["state"], "result": result, "traceback": None}

    def wait_for(self, task_id: str, timeout: float | None = None, **options: Any) -> dict[str, Any]:
        """Waits for the end only with a time limit; without one, raises NoResult if there is no end yet."""
        if timeout is not None:
            return dict(super().wait_for(task_id, timeout=timeout, **options))
        meta = self.get_task_meta(task_id)
        if meta["status"] not in states.READY_STATES:
            raise NoResult(f"{meta['status']}: {meta['result']}")
        return meta


def install_state_command(read_state: ReadState) -> None:
    """Answers with `read_state` when the backend asks."""

    @inspect_command(name=STATE_COMMAND, args=[("message_id", str)])  # type: ignore[untyped-decorator]
    def participant_state(state: object, message_id: str) -> Any:  # noqa: ARG001 - Celery's signature
        id_ = parse_participant_id(message_id) if isinstance(message_id, str) else None
        return None if id_ is None else read_state(id_)
