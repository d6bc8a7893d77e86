"""What an operator orders in Flower, or by anything else that speaks Celery's remote control."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any
from uuid import UUID

from celery.worker import control
from celery.worker.control import control_command
from sqlalchemy import Connection

from shared import faults, metrics
from shared.domain.errors import ServiceUnavailable
from shared.domain.lifecycle import Status
from shared.notices import Notifier
from shared.queue.names import CANCELLED_ALREADY, REVOKE_COMMAND, participant_of
from shared.store import lifecycle, stops
from shared.store.engine import Store

log = logging.getLogger(__name__)

#: Pause before a store that did not answer is asked again.
STORE_RETRY_S = 0.5
#: How long a process that goes waits for what is being written.
CLOSE_S = 2

#: What Celery offers and does nothing here, or harm, and what does it instead.
REFUSED = {
    "pool_grow": "its size is fixed: start it with another --concurrency, or start one more worker",
    "pool_shrink": "its size is fixed: start it with another --concurrency",
    "pool_restart": "there is nothing in it to restart: shut the worker down, and it is started anew",
    "autoscale": "its size is fixed: start and stop workers by load",
    "time_limit": "how long a step and a run may take is said by the iteration: step_timeout, run_timeout",
    "rate_limit": "how many run at a time is said by --concurrency, how often models are asked by their caps",
}


class Orders:
    """Cancels participants whose run messages an operator revoked.

    In a thread of its own: the store may take its time. While it is away, orders wait; those that still wait
    when this process ends are lost. Every worker gets each order, and one of them finds something to cancel.
    """

    def __init__(self, store: Store, notifier: Notifier, abort: Callable[[list[UUID]], None]) -> None:
        """`abort` cuts the steps in flight of some, if they run here."""
        self._store = store
        self._notifier = notifier
        self._abort = abort
        self._waiting: SimpleQueue[list[UUID] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="orders", daemon=True)
        self._thread.start()

    def cancel(self, task_ids: Iterable[str]) -> None:
        """Cancel the participants that these run messages, of whatever age, are for; returns at once."""
        ids = sorted({id_ for id_ in map(participant_of, task_ids) if id_ is not None})
        if ids:
            self._waiting.put(ids)

    def close(self) -> None:
        """Carry out what was ordered, if the store is there."""
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(CLOSE_S)

    def _serve(self) -> None:
        while (ids := self._waiting.get()) is not None:
            try:
                self._carry_out(ids)
            except ServiceUnavailable:
                if self._closing.wait(STORE_RETRY_S):
                    log.warning("the store is away: nobody cancels the revoked participants %s", _names(ids))
                else:
                    log.warning("the store is away; revoked participants are cancelled when it is back")
                    self._waiting.put(ids)
            except Exception:
                # Without this thread there would be no more orders.
                log.exception("the revoked participants %s are not cancelled", _names(ids))

    def _carry_out(self, ids: list[UUID]) -> None:
        def cancel(connection: Connection) -> tuple[Sequence[UUID], list[stops.Stopped]]:
            cancelled = sorted(lifecycle.cancel_for_operator(connection, ids))
            stopped = [stop for id_ in cancelled for stop in stops.mark_stopped(connection, id_)]
            return cancelled, stopped

        with faults.around("cancel.commit"):
            cancelled, stopped = self._store.write(cancel)
        if cancelled:
            log.info("an operator's revoke cancelled the participants %s", _names(cancelled))
        metrics.end(Status.CANCELLED, count=len(cancelled))
        # In place of a stop task.
        metrics.stopped("stop_task", (stop.after_s for stop in stopped))
        self._notifier.publish_soon(cancelled)
        # Whoever did it: they may run here.
        self._abort(ids)


def _names(ids: Iterable[UUID]) -> str:
    return ", ".join(map(str, ids))


def obey(orders: Orders, leave: Callable[[], None]) -> None:
    """From now on, this process's worker takes an operator's commands for what they should mean here.

    `leave` makes the process drain and end.
    """

    @control_command(name=REVOKE_COMMAND)  # type: ignore[untyped-decorator]
    def revoke(state: Any, task_id: str | list[str], **options: Any) -> Any:
        cancelled_already = options.pop(CANCELLED_ALREADY, False)
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        # Makes messages void that are still to come. What runs is stopped by its cancel, not by Celery.
        answer = control.revoke(state, ids, **options | {"terminate": False})
        if not cancelled_already:
            orders.cancel(ids)
        return answer

    @control_command(name="terminate")  # type: ignore[untyped-decorator]
    def terminate(state: Any, signal: str, task_id: str | list[str], **_: Any) -> Any:  # noqa: ARG001
        return revoke(state, task_id)

    @control_command(name="shutdown")  # type: ignore[untyped-decorator]
    def shutdown(state: Any, **_: Any) -> Any:  # noqa: ARG001 - Celery's signature
        log.warning("an operator shuts this worker down")
        leave()

    for name, instead in REFUSED.items():
        control_command(name=name)(_refusal(name, instead))
    # Each revoke would be logged as not noted by the result backend: there is none, and need not be.
    logging.getLogger("celery.worker.control").addFilter(
        lambda record: "revoked in backend" not in record.getMessage()
    )


def _refusal(name: str, instead: str) -> Callable[..., dict[str, str]]:
    def refuse(state: Any, **_: Any) -> dict[str, str]:  # noqa: ARG001 - Celery's signature
        return control.nok(f"{name} is not for this worker: {instead}")  # type: ignore[no-any-return]

    refuse.__doc__ = f"Refused: {instead}."
    return refuse
