"""The sweeper: recovers lost participants and messages in a loop. Any number of sweepers may run."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from understudy import faults
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.queues import QUEUE_PRIORITY, Queue
from understudy.queue.celery.app import BROKER_READ_TIMEOUT_S, create_celery
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import BROKER_ERRORS, Publisher, RefillResult
from understudy.sequencer import assign_positions
from understudy.settings import Settings
from understudy.store import Connection, dispatch, idempotency, leases, recovery, stops, window
from understudy.store.engine import Store, store_time
from understudy.store.free_space import log_if_full
from understudy.telemetry import logs, metrics
from understudy.telemetry.exporter import start_metrics_server
from understudy.telemetry.outages import OutageLog
from understudy.telemetry.store_metrics import StoreMetrics
from understudy.worker.retention import Retention
from understudy.worker.shutdown import ShutdownSignal

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Maximum rows of one statement; a sweep repeats it until none are left.
BATCH_SIZE = 1_000
#: Maximum transactions of one sweep that assign positions, so that the other work does not wait long.
SEQUENCER_TRANSACTIONS = 2
#: Seconds that a sweep may continue after a shutdown request.
SHUTDOWN_TIMEOUT_S = 10
#: Seconds after which expired leases without participants are deleted.
LEASE_RETENTION_S = 3600

#: Seconds between refills while participants wait for room in the window, or for a slot: the least after one that
#: published something; each one that published nothing doubles them, up to the most.
REFILL_INTERVAL_S, MAX_REFILL_INTERVAL_S = 0.05, 0.25

#: A message overtakes another only if it is later by this much: concurrent publishers interleave messages.
REORDER_MARGIN = timedelta(seconds=5)

RUN_QUEUES = (*QUEUE_PRIORITY, Queue.QUARANTINE)


class Sweeper:
    """Recovers and publishes. Sweepers can run concurrently: each row moves once, each message is sent once.

    Call `recover` and `publish` in two threads, so that a slow or unavailable broker does not delay recovery.
    """

    def __init__(self, settings: Settings, store: Store, publisher: Publisher, notifier: Notifier) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._notifier = notifier
        self._outages = OutageLog(log, "broker")
        self._store_was_unavailable = False
        #: Until then recovery pauses; None: it does not.
        self._recover_from: float | None = None
        self._refill_interval_s = REFILL_INTERVAL_S
        #: Monotonic time from which lost messages are looked for again.
        self._republish_at = 0.0
        #: By queue: messages published before this moment have left it, because it was empty later.
        self._lost_before: dict[Queue, datetime] = {}

    def recover(self) -> bool:
        """Recovers participants of lost workers and records missing stops; returns whether it recovered any.

        Raises ServiceUnavailable if the store is unavailable.
        """
        try:
            self._delete_expired()
            lost = [] if self._is_paused() else self._recover()
            self._record_stops()
        except ServiceUnavailable:
            self._store_was_unavailable = True
            raise
        if lost:
            log.warning("recovered %d participants from lost workers", len(lost))
            # Participants that failed are terminal: waiters need a notification.
            self._notifier.enqueue(lost)
        return bool(lost)

    def assign_positions(self) -> bool:
        """Assigns positions to some events, so that readers need to assign few; returns whether more remain.

        Raises ServiceUnavailable if the store is unavailable.
        """
        return assign_positions(self._store, max_transactions=SEQUENCER_TRANSACTIONS)

    def publish(self) -> float:
        """Refills the window of run messages and republishes lost ones; returns the seconds until the next call.

        Raises ServiceUnavailable if the store is unavailable.
        """
        interval_s = self._settings.sweep_interval_s
        try:
            has_more = self._republish() if time.monotonic() >= self._republish_at else False
            refill = self._refill()
        except BROKER_ERRORS as error:
            self._outages.failed(error, "run messages remain unpublished")
            return interval_s
        self._outages.succeeded()
        if has_more or refill.has_more:
            return 0
        self._refill_interval_s = (
            REFILL_INTERVAL_S if refill.sent else min(2 * self._refill_interval_s, MAX_REFILL_INTERVAL_S)
        )
        return min(self._refill_interval_s, interval_s) if refill.has_backlog else interval_s

    def _republish(self) -> bool:
        """Republishes lost messages; returns whether more remain."""
        # Evaluates all, so that no queue waits for another.
        has_more = sum(self._republish_lost(queue) for queue in RUN_QUEUES) > 0
        if not has_more:
            self._store.write(window.place_orphans)
            self._republish_at = time.monotonic() + self._settings.sweep_interval_s
        return has_more

    def _refill(self) -> RefillResult:
        with self._store.read() as connection:
            has_work = window.has_work(connection)
        if not has_work:
            return RefillResult(0, has_more=False, has_backlog=False)
        # Ping first: reserving messages only to unreserve them would waste a write.
        self._publisher.ping()
        return self._publisher.refill(BATCH_SIZE)

    def _delete_expired(self) -> None:
        """Deletes expired rows; as the first write of a sweep, it also measures the store.

        After an unavailable or slow store, leases of live workers have expired. Recovery then pauses for one
        heartbeat, so that these workers can release their participants, which costs no attempt. Another pause
        needs a recovery in between: a store that stays slow must not postpone recovery for ever.
        """
        began = time.monotonic()
        with faults.fault_site("delete_expired.commit"):
            shortened = self._store.write(partial(_delete_expired_rows, ttl_s=self._settings.lease_ttl_s))
        if shortened:
            log.warning("shortened %d leases: the clock of the store was set back", shortened)
        slow = time.monotonic() - began > self._settings.sweep_interval_s
        if (slow or self._store_was_unavailable) and self._recover_from is None:
            self._recover_from = time.monotonic() + self._settings.heartbeat_interval_s
        self._store_was_unavailable = False

    def _is_paused(self) -> bool:
        return self._recover_from is not None and time.monotonic() < self._recover_from

    def _recover(self) -> list[UUID]:
        max_attempts = self._settings.max_attempts
        lost: list[UUID] = []
        while True:
            with faults.fault_site("recover.commit"):
                batch = self._store.write(
                    lambda connection: recovery.recover_lost(connection, max_attempts, BATCH_SIZE)
                )
            metrics.count_recovered(len(batch.resumed), len(batch.failed))
            lost += (*batch.resumed, *batch.failed)
            if len(batch.resumed) + len(batch.failed) < BATCH_SIZE:
                self._recover_from = None
                return lost

    def _record_stops(self) -> None:
        """Records stops that no run or stop task recorded, because a worker or message was lost."""
        after_s = self._settings.stop_grace_s
        while True:
            with faults.fault_site("record_stops.commit"):
                batch = self._store.write(lambda connection: stops.record_stops(connection, after_s, BATCH_SIZE))
            metrics.observe_stops("sweeper", (stop.after_s for stop in batch))
            if len(batch) < BATCH_SIZE:
                return

    def _republish_lost(self, queue: Queue) -> bool:
        """Republishes overdue messages that are lost: their queue is empty, or later messages overtook them.

        A queue is first in, first out. A message older than one that already runs has left the queue, for
        example with a worker that died. A wrong guess costs one stale message. It can concern only messages
        that workers hold, and those of one stalled publisher (docs/adr/0007).
        """
        overdue_s = self._settings.republish_after_s
        if queue is Queue.RECOVERED:
            # Workers take this queue first: an unclaimed message was probably taken by a worker that died.
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
        sent = self._publisher.republish(ids, before)
        metrics.republished.labels(queue).inc(sent)
        log.info("republished %d run messages to %s", sent, queue)
        return sent > 0 and len(ids) == BATCH_SIZE


def _delete_expired_rows(connection: Connection, ttl_s: float) -> int:
    leases.delete_expired(connection, LEASE_RETENTION_S)
    idempotency.delete_expired(connection)
    return leases.shorten_leases(connection, ttl_s)


def run_sweeper(settings: Settings, ready_file: Path | None = None) -> None:
    """Runs a sweeper every `sweep_interval_s` until SIGTERM or SIGINT."""
    logs.configure(settings, part="sweeper")
    faults.arm(settings.faults)
    start_metrics_server(settings, "sweeper").gauges = metrics.sweeper_gauges
    shutdown = ShutdownSignal()
    shutdown.install()
    shutdown.on_request(timeout_s=SHUTDOWN_TIMEOUT_S)
    store = Store(settings.store_url, observer=StoreMetrics())
    log_if_full(store.url)
    app = create_celery(settings.broker_url, read_timeout_s=BROKER_READ_TIMEOUT_S)
    publisher = Publisher(app, store, settings.default_limits)
    notifier = Notifier(settings.notifications_url)
    sweeper = Sweeper(settings, store, publisher, notifier)
    retention = Retention(settings, store)
    if ready_file is not None:
        ready_file.touch()
    publish_now = threading.Event()

    def publish_loop() -> None:
        while not shutdown.is_requested:
            publish_now.wait(_run_sweep("publish", sweeper.publish, settings.sweep_interval_s))
            publish_now.clear()

    publishing = threading.Thread(target=publish_loop, name="publishing")
    publishing.start()
    pause_s = 0.0
    while not shutdown.wait(pause_s):
        pause_s = settings.sweep_interval_s
        if _run_sweep("recover", sweeper.recover, False):
            publish_now.set()
        if _run_sweep("positions", sweeper.assign_positions, False):
            pause_s = 0
        _run_sweep("retention", retention.sweep, 0)
    publish_now.set()
    publishing.join()
    publisher.close()
    notifier.close()
    store.dispose()


def _run_sweep(name: str, work: Callable[[], Result], otherwise: Result) -> Result:
    """Returns the result of `work`; logs a failure and returns `otherwise`, because the next sweep retries."""
    try:
        result = work()
        metrics.count_sweep(name)
        return result  # noqa: TRY300 - a failure has no result
    except ServiceUnavailable:
        log.warning("store unavailable; the next sweep will retry")
    except Exception:
        log.exception("sweep failed")
    metrics.sweeps.labels(name, "failed").inc()
    return otherwise
