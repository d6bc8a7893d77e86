"""The committer: one thread per process that groups the writes of its runs into transactions."""

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

#: Maximum writes in one transaction.
MAX_BATCH = 128
#: Pause in seconds before retrying an unavailable store.
STORE_RETRY_S = 0.5

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Writes several items together; returns one result per item, in order.
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
    """Groups waiting writes into one transaction; each write keeps its own result.

    A transaction and its statements cost almost the same for one write as for a hundred. Ungrouped, they
    would use up the time of a process with hundreds of runs. While the store is unavailable, writes wait.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._no_retry = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="committer", daemon=True)
        self._thread.start()

    async def write(self, participant_id: UUID, work: Callable[[Connection], Result], fault_site: str) -> Result:
        """Returns the result of `work` after its commit; raises what `work` raises, then nothing is stored.

        `work` writes only for this participant and runs only SQL: it may run more than once. `fault_site` is
        one of FAULT_SITES. Raises ServiceUnavailable only after `stop_retrying`: the commit is in doubt then.
        """
        return await self.write_batched(participant_id, _run_each, work, fault_site)

    async def write_batched(
        self, participant_id: UUID, work: BatchWrite[Item, Result], item: Item, fault_site: str
    ) -> Result:
        """Like `write`, but runs `work` once for all waiting items; returns the result of `item`."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.put(_Write(participant_id, work, item, done, fault_site))
        return await done

    def stop_retrying(self) -> None:
        """Stops waiting for an unavailable store: later failures are raised immediately."""
        self._no_retry.set()

    def close(self) -> None:
        """Commits the waiting writes, then stops; does not wait for an unavailable store."""
        self.stop_retrying()
        self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        is_open = True
        while is_open:
            batch = [self._waiting.get()]
            while not self._waiting.empty() and len(batch) < MAX_BATCH:
                batch.append(self._waiting.get())
            is_open = None not in batch
            # A write that is cancelled after this point is committed nevertheless.
            writes = [write for write in batch if write and not write.done.cancelled()]
            if writes:
                metrics.transaction_writes.observe(len(writes))
                # All multi-row writes lock rows in id order, so that they never deadlock.
                _resolve_futures(self._commit(sorted(writes, key=lambda write: write.participant_id)))

    def _commit(self, writes: list[_Write]) -> list[_Outcome]:
        try:
            with contextlib.ExitStack() as sites:
                for write in writes:
                    sites.enter_context(faults.fault_site(write.fault_site))
                results = self._write_with_retry(lambda connection: _run_batch(connection, writes))
        except Exception as error:  # noqa: BLE001 - it belongs to the caller of the write
            if len(writes) == 1:
                return [_Outcome(writes[0].done, None, error)]
            # One write failed: repeat each in its own transaction, so that each gets its own result.
            return [outcome for write in writes for outcome in self._commit([write])]
        return [_Outcome(write.done, result) for write, result in zip(writes, results, strict=True)]

    def _write_with_retry(self, work: Callable[[Connection], Result]) -> Result:
        while True:
            try:
                return self._store.write(work)
            except ServiceUnavailable:
                if self._no_retry.is_set():
                    raise
                log.warning("store unavailable; retrying the writes of runs")
                time.sleep(STORE_RETRY_S)


def _run_batch(connection: Connection, writes: list[_Write]) -> list[Any]:
    """Runs `writes`, all of one kind together; returns the results in the order of `writes`."""
    if len(writes) > 1:
        guards.lock_in_id_order(connection, [write.participant_id for write in writes])
    kinds: dict[BatchWrite[Any, Any], list[int]] = defaultdict(list)
    for index, write in enumerate(writes):
        kinds[write.work].append(index)
    results: list[Any] = [None] * len(writes)
    for work, indexes in kinds.items():
        done = work(connection, [writes[index].item for index in indexes])
        for index, result in zip(indexes, done, strict=True):
            results[index] = result
    return results


def _resolve_futures(outcomes: list[_Outcome]) -> None:
    """Resolves the futures with one call per loop: each call costs a system call and a thread switch."""
    loops: dict[asyncio.AbstractEventLoop, list[_Outcome]] = defaultdict(list)
    for outcome in outcomes:
        loops[outcome.done.get_loop()].append(outcome)
    for loop, batch in loops.items():
        # On a closed loop nothing waits for the result.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_results, batch)


def _set_results(outcomes: list[_Outcome]) -> None:
    for done, result, error in outcomes:
        if done.done():
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)
