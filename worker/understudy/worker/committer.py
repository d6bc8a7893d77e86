"""The committer: one thread per process that writes what its runs hand in, many at a time."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from understudy import faults
from understudy.domain.errors import ServiceUnavailable
from understudy.store import guards
from understudy.store.engine import Store
from understudy.telemetry import metrics

log = logging.getLogger(__name__)

#: Writes that share one transaction at most.
MAX_BATCH = 128
#: Pause before a store that did not answer is asked again.
STORE_RETRY_S = 0.5

Item = TypeVar("Item")
Result = TypeVar("Result")

#: What is done for several items in one go; one result for each, in their order.
BatchWrite: TypeAlias = Callable[[Connection, Sequence[Item]], Sequence[Result]]


class _Write(NamedTuple):
    participant_id: UUID
    work: BatchWrite[Any, Any]
    item: Any
    done: asyncio.Future[Any]
    fault_site: str


class _Outcome(NamedTuple):
    done: asyncio.Future[Any]
    result: Any
    error: Exception | None = None


def _run_each(connection: Connection, works: Sequence[Callable[[Connection], Result]]) -> list[Result]:
    return [work(connection) for work in works]


class Committer:
    """Groups waiting writes into one transaction; each keeps its own outcome.

    A transaction, and each statement in it, costs almost the same for one write as for a hundred, so a
    process with hundreds of runs would otherwise spend its time on them. While the store is unavailable,
    writes wait; they are done afterwards.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._no_retry = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="committer", daemon=True)
        self._thread.start()

    async def write(self, participant_id: UUID, work: Callable[[Connection], Result], place: str) -> Result:
        """The result of `work`, once it is committed. Raises what `work` raised; nothing is stored then.

        `work` writes for this participant only, and does nothing but SQL: it may be begun more than once.
        `fault_site` is the fault point around it, one of `faults.PLACES`.
        Raises ServiceUnavailable only after `stop_retrying`: then nobody knows whether it is committed.
        """
        return await self.write_batched(participant_id, _run_each, work, place)

    async def write_batched(
        self, participant_id: UUID, work: BatchWrite[Item, Result], item: Item, place: str
    ) -> Result:
        """`write`, for work that does all of its kind that wait in one go: the result for `item`."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.put(_Write(participant_id, work, item, done, place))
        return await done

    def stop_retrying(self) -> None:
        """From now on, do not wait for a store that is away."""
        self._no_retry.set()

    def close(self) -> None:
        """Write what is waiting, then stop; give up on a store that is away."""
        self.stop_retrying()
        self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        going = True
        while going:
            batch = [self._waiting.get()]
            while not self._waiting.empty() and len(batch) < MAX_BATCH:
                batch.append(self._waiting.get())
            going = None not in batch
            # Whoever withdraws a write later than this gets it all the same.
            writes = [write for write in batch if write and not write.done.cancelled()]
            if writes:
                metrics.transaction_writes.observe(len(writes))
                # In id order, like whatever touches several rows: it waits for others, but never deadlocks.
                _resolve_futures(self._commit(sorted(writes, key=lambda write: write.participant_id)))

    def _commit(self, writes: list[_Write]) -> list[_Outcome]:
        try:
            with contextlib.ExitStack() as points:
                for write in writes:
                    points.enter_context(faults.fault_site(write.fault_site))
                results = self._write_with_retry(lambda connection: _run_batch(connection, writes))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever handed in the write
            if len(writes) == 1:
                return [_Outcome(writes[0].done, None, error)]
            # One of them is at fault; each gets a transaction of its own, and its own answer.
            return [outcome for write in writes for outcome in self._commit([write])]
        return [_Outcome(write.done, result) for write, result in zip(writes, results, strict=True)]

    def _write_with_retry(self, work: Callable[[Connection], Result]) -> Result:
        while True:
            try:
                return self._store.write(work)
            except ServiceUnavailable:
                if self._no_retry.is_set():
                    raise
                log.warning("store unavailable; waiting for it")
                time.sleep(STORE_RETRY_S)


def _run_batch(connection: Connection, writes: list[_Write]) -> list[Any]:
    """All of them, those of one kind in one go; the results in the order of `writes`."""
    if len(writes) > 1:
        guards.lock_in_id_order(connection, [write.participant_id for write in writes])
    kinds: dict[BatchWrite[Any, Any], list[int]] = defaultdict(list)
    for place, write in enumerate(writes):
        kinds[write.work].append(place)
    results: list[Any] = [None] * len(writes)
    for work, places in kinds.items():
        done = work(connection, [writes[place].item for place in places])
        for place, result in zip(places, done, strict=True):
            results[place] = result
    return results


def _resolve_futures(outcomes: list[_Outcome]) -> None:
    """Wake those who wait, with one call per loop: each call is a system call, and a change of threads."""
    loops: dict[asyncio.AbstractEventLoop, list[_Outcome]] = defaultdict(list)
    for outcome in outcomes:
        loops[outcome.done.get_loop()].append(outcome)
    for loop, some in loops.items():
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_results, some)


def _set_results(outcomes: list[_Outcome]) -> None:
    for done, result, error in outcomes:
        if done.done():
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)
