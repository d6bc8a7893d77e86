"""Implements Celery's remote-control commands, which Flower and the `celery` command send to workers.

Relies on `celery.worker.control`: `control_command` replaces a command of the same name, and the replacement
may call `revoke`.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from celery.worker import control
from celery.worker.control import control_command

from understudy.queue.celery.foreign_messages import ForeignMessage, drop_message, parse_participant_ids
from understudy.queue.names import ABORT_COMMAND, ALREADY_CANCELLED, REVOKE_COMMAND

log = logging.getLogger(__name__)

#: Celery commands that have no use or do harm here, and the alternative of each.
UNSUPPORTED = {
    "pool_grow": "the pool size is fixed; start it with another --concurrency, or start one more worker",
    "pool_shrink": "the pool size is fixed; start it with another --concurrency",
    "pool_restart": "the pool cannot restart; shut the worker down, and its supervisor restarts it",
    "autoscale": "the pool size is fixed; start and stop workers by load",
    "time_limit": "the iteration sets the limits: step_timeout, run_timeout",
    "add_consumer": "a worker serves the queues of its kind; start another worker for more slots",
    "cancel_consumer": "shut the worker down, which drains it, or pause a study with `understudy pause`",
    "rate_limit": "--concurrency limits the runs at a time, quotas limit model calls",
}


def install_abort_command(abort_participants: Callable[[list[UUID]], None]) -> None:
    """Calls `abort_participants` with the ids of each abort broadcast."""

    @control_command(name=ABORT_COMMAND, args=[("participant_ids", list)])  # type: ignore[untyped-decorator]
    def abort(state: object, participant_ids: list[str]) -> None:  # noqa: ARG001 - Celery's signature
        try:
            abort_participants(parse_participant_ids(participant_ids))
        except ForeignMessage as reason:
            drop_message("broadcast", ABORT_COMMAND, reason)


def install_control_commands(cancel: Callable[[Sequence[str]], None], request_shutdown: Callable[[], None]) -> None:
    """Installs the operator commands in the worker of this process.

    A revoke passes the Celery ids of its run messages to `cancel`, unless a stop task sent it. A shutdown
    calls `request_shutdown`, which drains and ends the process.
    """

    @control_command(name=REVOKE_COMMAND)  # type: ignore[untyped-decorator]
    def revoke(state: Any, task_id: str | list[str], **options: Any) -> Any:
        cancelled_already = options.pop(ALREADY_CANCELLED, False)
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        # Voids messages that are still queued. The cancel stops active runs, not Celery.
        answer = control.revoke(state, ids, **options | {"terminate": False})
        if not cancelled_already:
            cancel(ids)
        return answer

    @control_command(name="terminate")  # type: ignore[untyped-decorator]
    def terminate(state: Any, signal: str, task_id: str | list[str], **_: Any) -> Any:  # noqa: ARG001
        return revoke(state, task_id)

    @control_command(name="shutdown")  # type: ignore[untyped-decorator]
    def shutdown(state: Any, **_: Any) -> Any:  # noqa: ARG001 - Celery's signature
        log.warning("an operator command shuts this worker down")
        request_shutdown()

    for name, instead in UNSUPPORTED.items():
        control_command(name=name)(_unsupported_handler(name, instead))
    # Celery would log for each revoke that no result backend stored it; that is intended.
    logging.getLogger("celery.worker.control").addFilter(lambda record: "revoked in backend" not in record.getMessage())


def _unsupported_handler(name: str, instead: str) -> Callable[..., dict[str, str]]:
    def refuse(state: Any, **_: Any) -> dict[str, str]:  # noqa: ARG001 - Celery's signature
        return control.nok(f"{name} is not supported: {instead}")  # type: ignore[no-any-return]

    refuse.__doc__ = f"Not supported: {instead}."
    return refuse
