"""What an operator orders in Flower, or by anything else that speaks Celery's remote control."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from uuid import UUID

from sqlalchemy import Connection

from understudy import faults
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import Status
from understudy.domain.queues import parse_participant_id
from understudy.queue.notifications import Notifier
from understudy.store import lifecycle, stops
from understudy.store.engine import Store
from understudy.telemetry import metrics

log = logging.getLogger(__name__)

#: Pause before a store that did not answer is asked again.
STORE_RETRY_S = 0.5
#: How long a process that goes waits for what is being written.
CLOSE_S = 2


class OperatorCommands:
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
        ids = sorted({id_ for id_ in map(parse_participant_id, task_ids) if id_ is not None})
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
                self._apply(ids)
            except ServiceUnavailable:
                if self._closing.wait(STORE_RETRY_S):
                    log.warning("store unavailable: nobody cancels the revoked participants %s", _names(ids))
                else:
                    log.warning("store unavailable; revoked participants are cancelled when it is back")
                    self._waiting.put(ids)
            except Exception:
                # Without this thread there would be no more orders.
                log.exception("the revoked participants %s are not cancelled", _names(ids))

    def _apply(self, ids: list[UUID]) -> None:
        def cancel(connection: Connection) -> tuple[Sequence[UUID], list[stops.Stopped]]:
            cancelled = sorted(lifecycle.cancel_any_workspace(connection, ids))
            stopped = [stop for id_ in cancelled for stop in stops.mark_stopped(connection, id_)]
            return cancelled, stopped

        with faults.fault_site("cancel.commit"):
            cancelled, stopped = self._store.write(cancel)
        if cancelled:
            log.info("an operator's revoke cancelled the participants %s", _names(cancelled))
        metrics.count_ended(Status.CANCELLED, count=len(cancelled))
        # In place of a stop task.
        metrics.observe_stops("stop_task", (stop.after_s for stop in stopped))
        self._notifier.enqueue(cancelled)
        # Whoever did it: they may run here.
        self._abort(ids)


def _names(ids: Iterable[UUID]) -> str:
    return ", ".join(map(str, ids))
