"""Celery's result backend: there are no results, the participants' rows are."""

from typing import Any

from celery.backends.base import Backend
from celery.contrib.abortable import ABORTED
from celery.exceptions import BackendError

from understudy.queue.celery.broadcasts import broadcast
from understudy.queue.names import REVOKE_COMMAND


class NullResultBackend(Backend):  # type: ignore[misc]
    """In place of results, which participants' rows are.

    To Celery an abort is a result, stored for the task to see. Here it is one more word for a revoke.
    """

    def store_result(self, task_id: str, result: object, state: str, *_: Any, **__: Any) -> object:
        """Revoke what is to be aborted; raises BackendError for any other result."""
        if state != ABORTED:
            raise BackendError(_NO_RESULTS_MESSAGE)
        broadcast(self.app, REVOKE_COMMAND, {"task_id": task_id})
        return result

    def get_task_meta(self, task_id: str, cache: bool = True) -> Any:  # noqa: ARG002 - Celery's signature
        raise BackendError(_NO_RESULTS_MESSAGE)


_NO_RESULTS_MESSAGE = "results are the participants' rows: ask the API for them"
