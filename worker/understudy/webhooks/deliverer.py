"""Delivers webhooks in a loop. Any number of processes may do it at once.

Each pass makes deliveries of new events and claims those that are due. A receiver has a bounded number of attempts in
flight, and one that fails has one: it neither uses memory nor delays others.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar
from uuid import UUID

from understudy import faults
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.webhooks import DeliveryStatus, backoff_s
from understudy.sequencer import assign_positions
from understudy.settings import Settings
from understudy.store import Connection, deliveries, webhooks
from understudy.store.deliveries import Attempt, Backlog
from understudy.store.engine import AnyRow, Store
from understudy.telemetry import webhook_metrics
from understudy.telemetry.outages import OutageLog
from understudy.webhooks.messages import build_body, headers_of
from understudy.webhooks.sender import Sender, TimeLimits

log = logging.getLogger(__name__)

#: Maximum attempts in flight: of one receiver, of all, and of all receivers whose last attempt failed.
MAX_PER_WEBHOOK = 10
MAX_IN_FLIGHT = 400
MAX_FAILING_IN_FLIGHT = 200
#: Seconds that attempts in flight may take after a shutdown request.
STOP_GRACE_S = 5.0
#: Maximum transactions of one pass that make deliveries of a workspace's events.
_MAX_BATCHES = 5
#: Seconds between two measurements of the backlog, which also delete what is too old.
_TIDY_INTERVAL_S = 10.0
_TIDY_BATCH = 1_000

Result = TypeVar("Result")


class Deliverer:
    """Belongs to one event loop."""

    def __init__(self, settings: Settings, store: Store, sender: Sender) -> None:
        self._settings = settings
        self._store = store
        self._sender = sender
        # Threads of its own: the store may hang.
        self._threads = ThreadPoolExecutor(4, "webhooks-store")
        self._in_flight: Counter[UUID] = Counter()
        #: Receivers whose last attempt failed.
        self._failing: set[UUID] = set()
        self._attempts: set[asyncio.Task[None]] = set()
        self._outages = OutageLog(log, "store")
        self._tidy_at = 0.0
        self.backlog = Backlog(0, 0.0)

    async def run(self, stopping: asyncio.Event) -> None:
        """Delivers until `stopping` is set and the attempts in flight have ended."""
        stop = asyncio.create_task(stopping.wait())
        while not stopping.is_set():
            has_more = await self.run_pass()
            # An attempt that ends makes room for the next one.
            pause_s = 0.0 if has_more else self._settings.sweep_interval_s
            await asyncio.wait({stop, *self._attempts}, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if self._attempts:
            # The claims of the others end by themselves.
            _, late = await asyncio.wait(set(self._attempts), timeout=STOP_GRACE_S)
            for attempt in late:
                attempt.cancel()
        await self.finish()
        self._threads.shutdown()

    async def finish(self) -> None:
        """Waits for the attempts in flight; each has a time limit."""
        if self._attempts:
            await asyncio.wait(set(self._attempts))

    async def run_pass(self) -> bool:
        """Makes deliveries and begins attempts; returns whether more can follow at once."""
        try:
            has_more = await self._in_thread(self._record)
            begun = await self._begin_attempts()
            if time.monotonic() >= self._tidy_at:
                self.backlog = await self._in_thread(self._tidy)
                self._tidy_at = time.monotonic() + _TIDY_INTERVAL_S
        except ServiceUnavailable as error:
            self._outages.failed(error, "webhooks wait")
            return False
        except Exception:
            # A later pass must still deliver the other workspaces' events.
            log.exception("a pass of the webhooks failed; the next one tries again")
            return False
        self._outages.succeeded()
        webhook_metrics.count_pass()
        return has_more or begun

    # -- from events to deliveries -------------------------------------------------------------------------

    def _record(self) -> bool:
        with self._store.read() as connection:
            if not deliveries.has_webhooks(connection):
                return False
        has_more = assign_positions(self._store, max_transactions=1)
        with self._store.read() as connection:
            workspaces = deliveries.workspaces_with_events(connection)
        return bool(sum(map(self._record_workspace, workspaces))) or has_more

    def _record_workspace(self, workspace_id: UUID) -> bool:
        for _ in range(_MAX_BATCHES):
            with self._store.read() as connection:
                batch = deliveries.next_batch(connection, workspace_id)
            if batch is None:
                return False
            with faults.fault_site("deliveries.commit"):
                self._store.write(partial(_record_batch, batch))
            if not batch.has_more:
                return False
        return True

    # -- attempts ------------------------------------------------------------------------------------------

    async def _begin_attempts(self) -> bool:
        """Claims due deliveries and begins their attempts; returns whether there were any."""
        due = await self._in_thread(self._read(deliveries.webhooks_with_due))
        # Receivers that work come first.
        begun = False
        for webhook_id in sorted(due, key=lambda id_: (id_ in self._failing, self._in_flight[id_])):
            free = self._free_slots(webhook_id)
            if free <= 0:
                continue
            claimed_at = time.monotonic()
            for delivery in await self._in_thread(partial(self._claim, webhook_id, free)):
                begun = True
                self._in_flight[webhook_id] += 1
                attempt = asyncio.create_task(self._attempt(delivery, claimed_at))
                self._attempts.add(attempt)
                attempt.add_done_callback(self._attempts.discard)
        return begun

    def _free_slots(self, webhook_id: UUID) -> int:
        free = MAX_IN_FLIGHT - len(self._attempts)
        if webhook_id not in self._failing:
            return min(free, MAX_PER_WEBHOOK - self._in_flight[webhook_id])
        failing = sum(count for id_, count in self._in_flight.items() if id_ in self._failing)
        return min(free, MAX_FAILING_IN_FLIGHT - failing, 1 - self._in_flight[webhook_id])

    def _claim(self, webhook_id: UUID, limit: int) -> list[AnyRow]:
        with faults.fault_site("delivery_claim.commit"):
            return self._store.write(lambda connection: deliveries.claim(connection, webhook_id, limit))

    async def _attempt(self, delivery: AnyRow, claimed_at: float) -> None:
        """Sends one claimed delivery and stores the result; whatever fails, its claim ends by itself."""
        try:
            result = await self._send(delivery, claimed_at)
            if result is not None:
                await self._settle(delivery, result)
        except ServiceUnavailable as error:
            self._outages.failed(error, "an attempted webhook is sent again")
        except Exception:
            log.exception("an attempt of a webhook failed; the delivery is attempted again")
        finally:
            self._in_flight[delivery.webhook_id] -= 1
            if not self._in_flight[delivery.webhook_id]:
                del self._in_flight[delivery.webhook_id]

    async def _send(self, delivery: AnyRow, claimed_at: float) -> Attempt | None:
        body = await self._in_thread(self._read(lambda connection: build_body(connection, delivery)))
        if body is None:
            return Attempt(delivery.id, delivery.claim_no, "the participant was deleted", None, is_final=True)
        if time.monotonic() > claimed_at + deliveries.CLAIM_S - 2 * TimeLimits().total_s:
            # This process stood still: another one may have claimed the delivery by now.
            return None
        began = time.monotonic()
        with faults.fault_site("delivery.send"):
            answer = await self._sender.send(delivery.url, headers_of(delivery, body), body)
        webhook_metrics.observe_attempt(time.monotonic() - began, failed=answer.error is not None)
        pause_s = backoff_s(delivery.attempts, self._settings.webhook_backoff_s)
        return Attempt(delivery.id, delivery.claim_no, answer.error, answer.status, pause_s)

    async def _settle(self, delivery: AnyRow, result: Attempt) -> None:
        def settle() -> DeliveryStatus | None:
            retry_s = self._settings.webhook_retry_s
            with faults.fault_site("delivery_settle.commit"):
                return self._store.write(lambda connection: deliveries.settle(connection, result, retry_s))

        status = await self._in_thread(settle)
        if result.error is None or result.is_final:
            self._failing.discard(delivery.webhook_id)
        else:
            self._failing.add(delivery.webhook_id)
        if status is DeliveryStatus.DEAD:
            webhook_metrics.dead.inc()
            log.warning(
                "webhook %s: delivery %s (%s) is dead: %s",
                delivery.webhook_id,
                delivery.id,
                delivery.type,
                result.error,
            )

    # -- the store -----------------------------------------------------------------------------------------

    def _tidy(self) -> Backlog:
        def tidy(connection: Connection) -> Backlog:
            deliveries.delete_old(connection, _TIDY_BATCH)
            webhooks.forget_previous_secrets(connection)
            return deliveries.backlog(connection)

        return self._store.write(tidy)

    def _read(self, work: Callable[[Connection], Result]) -> Callable[[], Result]:
        def read() -> Result:
            with self._store.read() as connection:
                return work(connection)

        return read

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _record_batch(batch: deliveries.Batch, connection: Connection) -> int | None:
    return deliveries.record_batch(connection, batch)
