"""Applies operator commands from Flower or another client of Celery's remote control."""

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

#: Pause in seconds before retrying an unavailable store.
STORE_RETRY_S = 0.5
#: Seconds that a shutdown waits for the write in progress.
CLOSE_S = 2


class OperatorCommands:
    """Cancels participants whose run messages an operator revoked.

    It uses its own thread, because the store may be slow. While the store is unavailable, commands wait; a
    shutdown drops waiting commands. Every worker receives each command; the first one cancels.
    """

    def __init__(self, store: Store, notifier: Notifier, abort: Callable[[list[UUID]], None]) -> None:
        """`abort` aborts the steps in flight of participants that run here."""
        self._store = store
        self._notifier = notifier
        self._abort = abort
        self._waiting: SimpleQueue[list[UUID] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="operator-commands", daemon=True)
        self._thread.start()

    def cancel(self, task_ids: Iterable[str]) -> None:
        """Cancels the participants of these run messages, old or new; returns immediately."""
        ids = sorted({id_ for id_ in map(parse_participant_id, task_ids) if id_ is not None})
        if ids:
            self._waiting.put(ids)

    def close(self) -> None:
        """Applies waiting commands if the store is available, for at most CLOSE_S."""
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(CLOSE_S)

    def _serve(self) -> None:
        while (ids := self._waiting.get()) is not None:
            try:
                self._apply(ids)
            except ServiceUnavailable:
                if self._closing.wait(STORE_RETRY_S):
                    log.warning("store unavailable; did not cancel the revoked participants %s", _names(ids))
                else:
                    log.warning("store unavailable; retrying the cancel of revoked participants")
                    self._waiting.put(ids)
            except Exception:
                # The thread must survive to apply later commands.
                log.exception("did not cancel the revoked participants %s", _names(ids))

    def _apply(self, ids: list[UUID]) -> None:
        def cancel(connection: Connection) -> tuple[Sequence[UUID], list[stops.Stopped]]:
            cancelled = sorted(lifecycle.cancel_any_workspace(connection, ids))
            stopped = [stop for id_ in cancelled for stop in stops.record_stop(connection, id_)]
            return cancelled, stopped

        with faults.fault_site("cancel.commit"):
            cancelled, stopped = self._store.write(cancel)
        if cancelled:
            log.info("an operator command cancelled the participants %s", _names(cancelled))
        metrics.count_ended(Status.CANCELLED, count=len(cancelled))
        # A stop task would count these stops.
        metrics.observe_stops("stop_task", (stop.after_s for stop in stopped))
        self._notifier.enqueue(cancelled)
        # Another worker may have cancelled them, but they may run here.
        self._abort(ids)


def _names(ids: Iterable[UUID]) -> str:
    return ", ".join(map(str, ids))
