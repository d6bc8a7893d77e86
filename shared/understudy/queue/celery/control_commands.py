"""Celery's remote-control commands, as workers obey them: what Flower and the `celery` command send.

Relies on `celery.worker.control`: `control_command` replaces a command of the same name, and `revoke` may be
called by its replacement.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from celery.worker import control
from celery.worker.control import control_command

from understudy.queue.names import ABORT_COMMAND, ALREADY_CANCELLED, REVOKE_COMMAND

log = logging.getLogger(__name__)

#: What Celery offers and does nothing here, or harm, and what does it instead.
UNSUPPORTED = {
    "pool_grow": "its size is fixed: start it with another --concurrency, or start one more worker",
    "pool_shrink": "its size is fixed: start it with another --concurrency",
    "pool_restart": "there is nothing in it to restart: shut the worker down, and it is started anew",
    "autoscale": "its size is fixed: start and stop workers by load",
    "time_limit": "how long a step and a run may take is said by the iteration: step_timeout, run_timeout",
    "rate_limit": "how many run at a time is said by --concurrency, how often models are asked by their caps",
}


def install_abort_command(abort_these: Callable[[list[UUID]], None]) -> None:
    """Has `abort_these` called for the participants whose steps in flight a broadcast aborts."""

    @control_command(name=ABORT_COMMAND, args=[("participant_ids", list)])  # type: ignore[untyped-decorator]
    def abort(state: object, participant_ids: list[str]) -> None:  # noqa: ARG001 - Celery's signature
        abort_these([UUID(id_) for id_ in participant_ids])


def install_control_commands(
    cancel: Callable[[Sequence[str]], None], request_shutdown: Callable[[], None]
) -> None:
    """Gives an operator's commands the meaning that they have here, for the worker of this process.

    `cancel` receives the Celery ids of revoked run messages, unless a stop task revokes them.
    `request_shutdown` makes the process drain and end.
    """

    @control_command(name=REVOKE_COMMAND)  # type: ignore[untyped-decorator]
    def revoke(state: Any, task_id: str | list[str], **options: Any) -> Any:
        cancelled_already = options.pop(ALREADY_CANCELLED, False)
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        # Makes messages void that are still to come. What runs is stopped by its cancel, not by Celery.
        answer = control.revoke(state, ids, **options | {"terminate": False})
        if not cancelled_already:
            cancel(ids)
        return answer

    @control_command(name="terminate")  # type: ignore[untyped-decorator]
    def terminate(state: Any, signal: str, task_id: str | list[str], **_: Any) -> Any:  # noqa: ARG001
        return revoke(state, task_id)

    @control_command(name="shutdown")  # type: ignore[untyped-decorator]
    def shutdown(state: Any, **_: Any) -> Any:  # noqa: ARG001 - Celery's signature
        log.warning("an operator shuts this worker down")
        request_shutdown()

    for name, instead in UNSUPPORTED.items():
        control_command(name=name)(_unsupported_handler(name, instead))
    # Each revoke would be logged as not noted by the result backend: there is none, and need not be.
    logging.getLogger("celery.worker.control").addFilter(
        lambda record: "revoked in backend" not in record.getMessage()
    )


def _unsupported_handler(name: str, instead: str) -> Callable[..., dict[str, str]]:
    def refuse(state: Any, **_: Any) -> dict[str, str]:  # noqa: ARG001 - Celery's signature
        return control.nok(f"{name} is not for this worker: {instead}")  # type: ignore[no-any-return]

    refuse.__doc__ = f"Refused: {instead}."
    return refuse
