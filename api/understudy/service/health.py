"""Are the parts there that requests need, and how much is there to do?"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.service.executors import shutdown_executors
from understudy.store import leases, participants
from understudy.store.engine import Store

#: Whoever asks whether all is well is answered by then.
PROBE_TIMEOUT_S = 3
#: Seconds from one count of those that rest to the next, and how much of the time counting takes at most.
COUNT_INTERVAL_S = 30
COUNT_MAX_SHARE = 0.01
#: So long a look waits for such a count; it is told what was counted before.
COUNT_TIMEOUT_S = 0.5


class StoreStats(NamedTuple):
    """Of all workspaces together."""

    workers: int
    pending: int
    running: int
    owed: int
    oldest_pending_s: float


class Readiness:
    """Looks at store and broker for all who ask, once at a time. Belongs to one event loop.

    On threads of its own: it holds up nobody, however long they take to answer, and nobody holds it up.
    """

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher
        # One for each kind of look: a broker that hangs must not hide what the store knows.
        self._threads = {
            name: ThreadPoolExecutor(1, f"readiness-{name}")
            for name in ("workers", "store", "queues", "census")
        }
        self._looks: dict[str, asyncio.Future[Any]] = {}
        self._resting: Mapping[Status, int] = {}
        self._count_again_at = 0.0

    async def workers(self) -> int:
        """How many worker processes live, if the broker answers too.

        Who asks during a look gets the answer of that one. Raises ServiceUnavailable naming what does not
        answer, or after DEADLINE_S.
        """
        workers: int = await self._probe("workers", self._count)
        return workers

    async def store_stats(self) -> StoreStats:
        """How much there is to do, and who does it. Raises ServiceUnavailable as `workers` does."""
        figures: StoreStats = await self._probe("store", self._figure)
        return figures

    async def inactive_counts(self) -> Mapping[Status, int]:
        """How many participants are neither pending nor running, by status, as of a while ago.

        Counting them reads every row, so it is done seldom: see CENSUS_INTERVAL_S. Empty as long as it never
        was, or not within CENSUS_PATIENCE_S.
        """
        with contextlib.suppress(ServiceUnavailable):
            await self._probe("census", self._count_resting, COUNT_TIMEOUT_S)
        return self._resting

    async def queue_depths(self) -> dict[Queue, int]:
        """Messages that wait in each queue. Raises ServiceUnavailable as `workers` does."""
        depths: dict[Queue, int] = await self._probe("queues", self._measure_queues)
        return depths

    async def _probe(self, name: str, work: Callable[[], Any], patience_s: float = PROBE_TIMEOUT_S) -> Any:
        look = self._looks.get(name)
        if look is None or look.done():
            look = self._looks[name] = asyncio.get_running_loop().run_in_executor(self._threads[name], work)
        try:
            async with asyncio.timeout(patience_s):
                # Shielded: the others go on waiting for it, and the next one must not begin before it ends.
                return await asyncio.shield(look)
        except TimeoutError:
            raise ServiceUnavailable(f"Store or broker did not answer within {patience_s} s.") from None

    async def close(self) -> None:
        """Look no more."""
        await shutdown_executors(*self._threads.values())

    def _count(self) -> int:
        with self._store.read() as connection:
            workers = leases.count_live(connection)
        try:
            self._publisher.ping()
        except BROKER_ERRORS as error:
            raise ServiceUnavailable(
                "The broker does not answer; what is dispatched starts later."
            ) from error
        return workers

    def _figure(self) -> StoreStats:
        with self._store.read() as connection:
            return StoreStats(
                leases.count_live(connection),
                *participants.active_counts(connection),
                *participants.backlog_stats(connection),
            )

    def _count_resting(self) -> None:
        began = time.monotonic()
        if began < self._count_again_at:
            return
        try:
            with self._store.read() as connection:
                self._resting = participants.inactive_counts(connection)
        finally:
            took_s = time.monotonic() - began
            self._count_again_at = began + max(COUNT_INTERVAL_S, took_s / COUNT_MAX_SHARE)

    def _measure_queues(self) -> dict[Queue, int]:
        try:
            return {queue: self._publisher.queue_depth(queue) for queue in Queue}
        except BROKER_ERRORS as error:
            raise ServiceUnavailable("The broker does not answer.") from error
