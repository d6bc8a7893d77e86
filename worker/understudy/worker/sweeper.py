"""The sweeper: makes good what processes and messages lost. A plain loop; any number may run at once."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from understudy import faults
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.queues import QUEUE_PRIORITY, Queue
from understudy.queue.celery.app import BROKER_READ_TIMEOUT_S, create_celery
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.sequencer import give_positions
from understudy.settings import Settings
from understudy.store import Connection, dispatch, idempotency, leases, recovery, stops
from understudy.store.engine import Store, store_time
from understudy.telemetry import logs, metrics
from understudy.telemetry.exporter import start_metrics_server
from understudy.telemetry.store_metrics import StoreMetrics
from understudy.worker.shutdown import ShutdownSignal

log = logging.getLogger(__name__)

#: Rows that one statement moves; a sweep goes on until none are left.
BATCH_SIZE = 1_000
#: Transactions of one sweep that give positions to events: what comes after it must not wait for long.
SEQUENCER_TRANSACTIONS = 2
#: How long a sweep may go on when the process is told to go.
MOST_S = 10
#: Leases that ran out this long ago and hold nothing are removed.
LEASE_RETENTION_S = 3600

#: How much later a message must have been sent to overtake another: two who publish at once mix theirs.
REORDER_MARGIN = timedelta(seconds=5)

RUN_QUEUES = (*QUEUE_PRIORITY, Queue.QUARANTINE)


class Sweeper:
    """Recovers and publishes. Safe beside other sweepers: each row moves once, each message is sent once.

    The two may be done by two threads: a broker that is slow or away must not hold recovery up.
    """

    def __init__(self, settings: Settings, store: Store, publisher: Publisher, notifier: Notifier) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._notifier = notifier
        self._store_was_away = False
        self._recover_from = time.monotonic()
        #: What was sent to a queue before this moment was not in it when it was last seen empty.
        self._lost_before: dict[Queue, datetime] = {}

    def recover(self) -> bool:
        """Take what runs from lost workers, record stops that nobody else did; was anybody taken?

        Raises ServiceUnavailable when the store is unavailable.
        """
        try:
            self._forget_old()
            lost = self._recover() if time.monotonic() >= self._recover_from else []
            self._record_stops()
        except ServiceUnavailable:
            self._store_was_away = True
            raise
        if lost:
            log.warning("recovered %d participants from lost workers", len(lost))
            # Those that failed are terminal: somebody may be waiting for them.
            self._notifier.enqueue(lost)
        return bool(lost)

    def assign_positions(self) -> bool:
        """See to it that readers of events who come later find few that wait; are there more?

        Raises ServiceUnavailable when the store is unavailable.
        """
        return give_positions(self._store, transactions=SEQUENCER_TRANSACTIONS)

    def publish(self) -> bool:
        """Send some of what is owed or was lost; is there more?

        Raises ServiceUnavailable when the store is unavailable.
        """
        try:
            # Both in any case: what was lost must not wait for all that is owed.
            more = [self._publish_pending(), *(self._republish_lost(queue) for queue in RUN_QUEUES)]
            return any(more)
        except BROKER_ERRORS as error:
            log.warning("the broker does not answer (%s); run messages stay owed", error)
            return False

    def _forget_old(self) -> None:
        """Remove what is kept for a while only: the first write of a sweep, which shows how the store is.

        Right after it was away, or kept everybody waiting, leases have lapsed. The living give back what they
        held, at no attempt, if they are given the time of a heartbeat before anything is recovered.
        """
        asked_at = time.monotonic()
        with faults.fault_site("forget.commit"):
            self._store.write(_delete_expired)
        slow = time.monotonic() - asked_at > self._settings.sweep_interval_s
        if slow or self._store_was_away:
            self._store_was_away = False
            self._recover_from = time.monotonic() + self._settings.heartbeat_interval_s

    def _recover(self) -> list[UUID]:
        max_attempts = self._settings.max_attempts
        lost: list[UUID] = []
        while True:
            with faults.fault_site("recover.commit"):
                some = self._store.write(
                    lambda connection: recovery.recover_lost(connection, max_attempts, BATCH_SIZE)
                )
            metrics.count_recovered(len(some.resumed), len(some.failed))
            lost += (*some.resumed, *some.failed)
            if len(some.resumed) + len(some.failed) < BATCH_SIZE:
                return lost

    def _record_stops(self) -> None:
        """Usually the run or its stop task has; here come those whose worker or message was lost."""
        after_s = self._settings.stop_grace_s
        while True:
            with faults.fault_site("record_stops.commit"):
                some = self._store.write(
                    lambda connection: stops.record_stops(connection, after_s, BATCH_SIZE)
                )
            metrics.observe_stops("sweeper", (stop.after_s for stop in some))
            if len(some) < BATCH_SIZE:
                return

    def _publish_pending(self) -> bool:
        with self._store.read() as connection:
            ids = dispatch.unpublished_ids(connection, BATCH_SIZE)
        if not ids:
            return False
        # Asked first: owning messages only to disown them again would be a write for nothing.
        self._publisher.ping()
        # None of them, when somebody else sends them just now or the broker went away after all.
        return self._publisher.publish_run_messages(ids).sent > 0 and len(ids) == BATCH_SIZE

    def _republish_lost(self, queue: Queue) -> bool:
        """Send again what is overdue and was lost: its queue is empty, or others overtook it.

        A queue is first in, first out: whoever waits longer than one that runs already is not in it any more,
        but in the hands of a worker that died, for instance. A mistake costs one void message.
        """
        overdue_s = self._settings.republish_after_s
        if queue is Queue.RECOVERED:
            # Taken first by whoever is free: one that is not claimed soon went to a worker that died, too.
            overdue_s /= 6
        with self._store.read() as connection:
            overdue_before = store_time(connection, -overdue_s)
            if not dispatch.published_before_ids(connection, queue, overdue_before, 1):
                return False
            followed_at = dispatch.newest_running_dispatch(connection, queue)
        lost_before = [self._lost_before[queue]] if queue in self._lost_before else []
        if self._publisher.queue_depth(queue) == 0:
            self._lost_before[queue] = overdue_before
            lost_before = [overdue_before]
        if followed_at is not None:
            lost_before.append(min(followed_at - REORDER_MARGIN, overdue_before))
        if not lost_before:
            return False
        before = max(lost_before)
        with self._store.read() as connection:
            ids = dispatch.published_before_ids(connection, queue, before, BATCH_SIZE)
        if not ids:
            return False
        again = self._publisher.publish_run_messages(ids, republish_before=before).sent
        metrics.republished.labels(queue).inc(again)
        log.info("republished %d run messages to %s", again, queue)
        return again > 0 and len(ids) == BATCH_SIZE


def _delete_expired(connection: Connection) -> None:
    leases.delete_expired(connection, LEASE_RETENTION_S)
    idempotency.delete_expired(connection)


def run_sweeper(settings: Settings, ready_file: Path | None = None) -> None:
    """Sweep every `sweep_interval_s` until SIGTERM or SIGINT."""
    logs.configure(settings, part="sweeper")
    faults.arm(settings.faults)
    start_metrics_server(settings, "sweeper").gauges = metrics.sweeper_gauges
    leaving = ShutdownSignal()
    leaving.install()
    leaving.on_request(timeout_s=MOST_S)
    store = Store(settings.store_url, observer=StoreMetrics())
    app = create_celery(settings.broker_url, read_timeout_s=BROKER_READ_TIMEOUT_S)
    publisher = Publisher(app, store)
    notifier = Notifier(settings.notifications_url)
    sweeper = Sweeper(settings, store, publisher, notifier)
    if ready_file is not None:
        ready_file.touch()
    publish_now = threading.Event()

    def publish_on() -> None:
        while not leaving.is_requested:
            more = _run_sweep("publish", sweeper.publish)
            publish_now.wait(0 if more else settings.sweep_interval_s)
            publish_now.clear()

    publishing = threading.Thread(target=publish_on, name="publishing")
    publishing.start()
    pause_s = 0.0
    while not leaving.wait(pause_s):
        pause_s = settings.sweep_interval_s
        if _run_sweep("recover", sweeper.recover):
            publish_now.set()
        if _run_sweep("positions", sweeper.assign_positions):
            pause_s = 0
    publish_now.set()
    publishing.join()
    publisher.close()
    notifier.close()
    store.dispose()


def _run_sweep(name: str, work: Callable[[], bool]) -> bool:
    """What `work` says; False when it failed. The next time may do better, and better than no sweeper."""
    try:
        more = work()
        metrics.count_sweep(name)
        return more  # noqa: TRY300 - what went wrong has no answer
    except ServiceUnavailable:
        log.warning("store unavailable; the next sweep will look again")
    except Exception:
        log.exception("a sweep failed")
    metrics.sweeps.labels(name, "failed").inc()
    return False
