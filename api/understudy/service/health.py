"""Reports whether store and broker answer, and the amount of work."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from understudy.domain.errors import ServiceUnavailable
from understudy.domain.holds import STANDARD_LIMITS, DefaultLimits
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue, WorkerKind
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.service.executors import shutdown_executors
from understudy.store import leases, participants
from understudy.store.backlog import Backlog, backlog
from understudy.store.engine import Store
from understudy.store.free_space import check_free_space
from understudy.telemetry.window_metrics import AGES

#: Timeout of a probe in seconds.
PROBE_TIMEOUT_S = 3
#: Minimum seconds between two counts of inactive participants, and the maximum share of time they take.
COUNT_INTERVAL_S = 30
COUNT_MAX_SHARE = 0.01
#: Seconds that a caller waits for such a count; then it gets the previous one.
COUNT_TIMEOUT_S = 0.5


class StoreStats(NamedTuple):
    """Figures over all workspaces."""

    workers: Mapping[WorkerKind, int]
    pending: int
    running: int
    backlog: Backlog


class Readiness:
    """Probes store and broker; concurrent callers share a probe. Belongs to one event loop.

    It uses threads of its own: a slow probe blocks no other work, and other work blocks no probe.
    """

    def __init__(self, store: Store, publisher: Publisher, limits: DefaultLimits = STANDARD_LIMITS) -> None:
        self._store = store
        self._limits = limits
        self._publisher = publisher
        # One thread per kind of probe: a broker that hangs must not hide the figures of the store.
        self._threads = {
            name: ThreadPoolExecutor(1, f"readiness-{name}")
            for name in ("workers", "broker", "store", "queues", "inactive")
        }
        self._probes: dict[str, asyncio.Future[Any]] = {}
        self._inactive: Mapping[Status, int] = {}
        self._count_again_at = 0.0

    async def check(self) -> tuple[Mapping[WorkerKind, int], str]:
        """Returns the live workers of each kind, and what is wrong with the broker; empty if nothing.

        A call during a probe gets that probe's result. Raises ServiceUnavailable if the store does not answer or its
        disk is full, at the latest after PROBE_TIMEOUT_S. Without a broker, cancel, extend and reads still work.
        """
        broker = asyncio.ensure_future(self._probe("broker", self._ping_broker))
        try:
            workers: Mapping[WorkerKind, int] = await self._probe("workers", self._count)
        except BaseException:
            broker.cancel()
            raise
        try:
            await broker
        except ServiceUnavailable as error:
            return workers, str(error)
        return workers, ""

    async def store_stats(self) -> StoreStats:
        """Returns the backlog, the running participants and the workers. Raises as `check` does."""
        stats: StoreStats = await self._probe("store", self._load_stats)
        return stats

    async def inactive_counts(self) -> Mapping[Status, int]:
        """Returns the latest count of participants that are neither pending nor running, by status.

        A count reads every row, so it runs at most every COUNT_INTERVAL_S. Waits COUNT_TIMEOUT_S for a new
        count, then returns the previous one; empty if there is none.
        """
        with contextlib.suppress(ServiceUnavailable):
            await self._probe("inactive", self._count_inactive, COUNT_TIMEOUT_S)
        return self._inactive

    async def queue_depths(self) -> dict[Queue, int]:
        """Returns the number of messages in each queue. Raises as `check` does."""
        depths: dict[Queue, int] = await self._probe("queues", self._measure_queues)
        return depths

    async def _probe(self, name: str, work: Callable[[], Any], timeout_s: float | None = None) -> Any:
        timeout_s = PROBE_TIMEOUT_S if timeout_s is None else timeout_s
        probe = self._probes.get(name)
        if probe is None or probe.done():
            probe = self._probes[name] = asyncio.get_running_loop().run_in_executor(self._threads[name], work)
        try:
            async with asyncio.timeout(timeout_s):
                # Shielded: other callers wait for it too, and the next probe must not start before it ends.
                return await asyncio.shield(probe)
        except TimeoutError:
            dependency = "broker" if name in {"broker", "queues"} else "store"
            raise ServiceUnavailable(f"The {dependency} did not answer within {timeout_s} s.") from None

    async def close(self) -> None:
        """Ends the probes."""
        await shutdown_executors(*self._threads.values())

    def _count(self) -> Mapping[WorkerKind, int]:
        check_free_space(self._store.url)
        with self._store.read() as connection:
            return leases.live_by_kind(connection)

    def _ping_broker(self) -> None:
        try:
            self._publisher.ping()
        except BROKER_ERRORS as error:
            raise ServiceUnavailable("The broker is unavailable; dispatched participants start later.") from error

    def _load_stats(self) -> StoreStats:
        with self._store.read() as connection:
            return StoreStats(
                leases.live_by_kind(connection),
                *participants.active_counts(connection),
                backlog(connection, [age for age in AGES if age is not None], self._limits),
            )

    def _count_inactive(self) -> None:
        began = time.monotonic()
        if began < self._count_again_at:
            return
        try:
            with self._store.read() as connection:
                self._inactive = participants.inactive_counts(connection)
        finally:
            took_s = time.monotonic() - began
            self._count_again_at = began + max(COUNT_INTERVAL_S, took_s / COUNT_MAX_SHARE)

    def _measure_queues(self) -> dict[Queue, int]:
        try:
            return {queue: self._publisher.queue_depth(queue) for queue in Queue}
        except BROKER_ERRORS as error:
            raise ServiceUnavailable("The broker is unavailable.") from error
