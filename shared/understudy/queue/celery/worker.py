"""Celery's worker with our signal handlers, and apps that start none.

Relies on `WorkController.install_platform_tweaks`, the method in which Celery installs its own handlers, and
on `celery.worker.state.should_stop`, which they set.
"""

from collections.abc import Callable
from typing import Any, NoReturn

from celery import Celery
from celery.platforms import EX_OK
from celery.worker import state


def worker_class(app: Celery, install_handlers: Callable[[], None]) -> Any:
    """Returns a worker class that calls `install_handlers` in place of Celery's own."""

    class Worker(app.Worker):  # type: ignore[misc]
        """Installs the handlers of this process."""

        def install_platform_tweaks(self, worker: Any) -> None:  # noqa: ARG002 - Celery's signature
            install_handlers()

    return Worker


def refuse_workers(app: Celery, reason: str) -> None:
    """Makes `celery worker` end with `reason` and exit status 1 for `app`; its other commands work.

    A plain worker has no task of ours. It would discard every message that it takes.
    """

    def refuse(**_: object) -> NoReturn:
        raise SystemExit(reason)

    app.Worker = app.WorkController = refuse


def stop_consuming() -> None:
    """Makes the worker of this process stop at its next turn; safe in a signal handler.

    Celery's own handlers set the same flag, but they send signals under a lock and deadlock when nested.
    """
    state.should_stop = EX_OK
