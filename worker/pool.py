"""The pool: Celery's threads, each job under a number by which it can be terminated."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult, TaskPool

_current = threading.local()


def current_job() -> int | None:
    """The number of the job that this thread works on; None outside the pool."""
    number: int | None = getattr(_current, "job", None)
    return number


def create_pool(terminate: Callable[[int], None]) -> type[TaskPool]:
    """A pool class whose `terminate_job` calls `terminate` with the job's number.

    Celery takes for a "pid" what the pool reports when a job starts. A thread's ident would name whatever
    that thread does by the time the order arrives; a number of its own names the job and nothing else.
    """

    class JobPool(TaskPool):  # type: ignore[misc]
        """Threads that know the number of their job."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._numbers = itertools.count(1)

        def on_apply(
            self,
            target: Callable[..., Any],
            args: Any = None,
            kwargs: Any = None,
            callback: Any = None,
            accept_callback: Any = None,
            **_: Any,
        ) -> ApplyResult:
            number = next(self._numbers)
            return ApplyResult(
                self.executor.submit(_work, number, target, args, kwargs, callback, accept_callback)
            )

        def terminate_job(self, pid: int, signal: Any = None) -> None:  # noqa: ARG002 - threads take none
            terminate(pid)

    return JobPool


def _work(number: int, target: Callable[..., Any], *details: Any) -> None:
    _current.job = number
    try:
        apply_target(target, *details, pid=number)
    finally:
        _current.job = None
