"""A Celery result backend without results: participants' rows hold them."""

from typing import Any

from celery.backends.base import Backend
from celery.contrib.abortable import ABORTED
from celery.exceptions import BackendError

from understudy.queue.celery.broadcasts import broadcast
from understudy.queue.names import REVOKE_COMMAND


class NullResultBackend(Backend):  # type: ignore[misc]
    """Stores no results and treats an abort as a revoke.

    Celery implements an abort as a stored result that the task polls.
    """

    def store_result(self, task_id: str, result: object, state: str, *_: Any, **__: Any) -> object:
        """Revokes an aborted task; raises BackendError for any other result."""
        if state != ABORTED:
            raise BackendError(_NO_RESULTS_MESSAGE)
        broadcast(self.app, REVOKE_COMMAND, {"task_id": task_id})
        return result

    def get_task_meta(self, task_id: str, cache: bool = True) -> Any:  # noqa: ARG002 - Celery's signature
        raise BackendError(_NO_RESULTS_MESSAGE)


_NO_RESULTS_MESSAGE = "this app stores no results; read the participants from the API"
