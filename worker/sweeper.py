"""The sweeper: makes good what processes and messages lost. A plain loop; any number may run at once."""

import logging
import signal
from pathlib import Path
from queue import Empty, SimpleQueue
from uuid import UUID

from shared import faults
from shared.domain.errors import ServiceUnavailable
from shared.notices import Notifier
from shared.queue.celery import BROKER_READ_TIMEOUT_S, create_celery
from shared.queue.names import Queue
from shared.queue.publisher import BROKER_ERRORS, Publisher
from shared.settings import Settings
from shared.store import Connection, dispatch, idempotency, leases, lifecycle
from shared.store.engine import Store

log = logging.getLogger(__name__)

#: Rows that one statement moves; a sweep goes on until none are left.
LIMIT = 1_000
#: Leases that ran out this long ago and hold nothing are removed.
FORGET_LEASE_AFTER_S = 3600

RUN_QUEUES = (Queue.RESUME, Queue.RUNS, Queue.ALONE)


class Sweeper:
    """One sweep: recover, republish, record stops. Safe beside other sweepers: each row moves once."""

    def __init__(self, settings: Settings, store: Store, publisher: Publisher, notifier: Notifier) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._notifier = notifier

    def sweep(self) -> None:
        """Raises ServiceUnavailable when the store is away."""
        lost = self._recover()
        self._record_stops()
        try:
            self._publish_owed()
            self._republish_gone()
        except BROKER_ERRORS as error:
            log.warning("the broker does not answer (%s); run messages stay owed", error)
        if lost:
            log.warning("took %d participants from lost workers", len(lost))
            # Those that failed are terminal: somebody may be waiting for them.
            self._notifier.publish_soon(lost)
        self._store.write(_forget_old)

    def _recover(self) -> list[UUID]:
        max_attempts = self._settings.max_attempts
        lost: list[UUID] = []
        while True:
            with faults.around("recover.commit"):
                some = self._store.write(
                    lambda connection: lifecycle.recover_lost(connection, max_attempts, LIMIT)
                )
            lost += some
            if len(some) < LIMIT:
                return lost

    def _record_stops(self) -> None:
        """Usually the run or its stop task has; here come those whose worker or message was lost."""
        after_s = self._settings.stop_grace_s
        with self._store.read() as connection:
            ids = dispatch.stopping_ids(connection, LIMIT)
        if ids:
            self._store.write(lambda connection: lifecycle.mark_stopped(connection, ids, after_s=after_s))

    def _publish_owed(self) -> None:
        while True:
            with self._store.read() as connection:
                ids = dispatch.owed_ids(connection, LIMIT)
            if not ids:
                return
            # Asked first: owning messages only to disown them again would be a write for nothing.
            self._publisher.ping()
            # None of them, when somebody else sends them just now or the broker went away after all.
            if self._publisher.dispatch(ids).sent == 0 or len(ids) < LIMIT:
                return

    def _republish_gone(self) -> None:
        """A message that is overdue while its queue is empty was lost on the way."""
        for queue in RUN_QUEUES:
            after_s = self._settings.republish_after_s
            with self._store.read() as connection:
                ids = dispatch.overdue_ids(connection, queue, after_s, LIMIT)
            if ids and self._publisher.queue_depth(queue) == 0:
                again = self._publisher.dispatch(ids, republish_before_s=after_s)
                log.info("sent %d run messages again to %s", again.sent, queue)


def _forget_old(connection: Connection) -> None:
    leases.forget_dead(connection, FORGET_LEASE_AFTER_S)
    idempotency.forget_old(connection)


def run_sweeper(settings: Settings, ready_file: Path | None = None) -> None:
    """Sweep every `sweep_interval_s` until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    faults.arm(settings.faults)
    # Not an Event: a handler runs in the very thread that may hold its lock just then, and would wait for
    # ever. A SimpleQueue may be put into at any point.
    told_to_stop: SimpleQueue[int] = SimpleQueue()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda number, _: told_to_stop.put(number))
    store = Store(settings.store_url)
    app = create_celery(settings.broker_url, read_timeout_s=BROKER_READ_TIMEOUT_S)
    publisher = Publisher(app, store)
    notifier = Notifier(settings.broker_url)
    sweeper = Sweeper(settings, store, publisher, notifier)
    if ready_file is not None:
        ready_file.touch()
    while True:
        try:
            sweeper.sweep()
        except ServiceUnavailable:
            log.warning("the store is away; the next sweep will look again")
        except Exception:
            # Whatever it is, the next sweep may do better than no sweeper at all.
            log.exception("a sweep failed")
        try:
            told_to_stop.get(timeout=settings.sweep_interval_s)
            break
        except Empty:
            continue
    publisher.close()
    notifier.close()
    store.dispose()
