"""The committer: one thread per process that writes what its runs hand in, many at a time."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from shared import faults, metrics
from shared.domain.errors import ServiceUnavailable
from shared.store.engine import Store

log = logging.getLogger(__name__)

#: Writes that share one transaction at most.
MAX_BATCH = 64
#: Pause before a store that did not answer is asked again.
STORE_RETRY_S = 0.5

Result = TypeVar("Result")


class _Write(NamedTuple):
    participant_id: UUID
    work: Callable[[Connection], Any]
    done: Future[Any]
    place: str


class Committer:
    """Groups waiting writes into one transaction; each keeps its own outcome.

    A commit costs the same for one write or for sixty, so a process with hundreds of runs would otherwise
    spend its time on commits. While the store is away, writes wait and are then done.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._impatient = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="committer", daemon=True)
        self._thread.start()

    async def write(self, participant_id: UUID, work: Callable[[Connection], Result], place: str) -> Result:
        """The result of `work`, once it is committed. Raises what `work` raised; nothing is stored then.

        `work` writes for this participant only, and does nothing but SQL: it may be begun more than once.
        `place` is the fault point around it, one of `faults.PLACES`.
        Raises ServiceUnavailable only after `give_up`: then nobody knows whether it is committed.
        """
        done: Future[Result] = Future()
        self._waiting.put(_Write(participant_id, work, done, place))
        return await asyncio.wrap_future(done)

    def give_up(self) -> None:
        """From now on, do not wait for a store that is away."""
        self._impatient.set()

    def close(self) -> None:
        """Write what is waiting, then stop; give up on a store that is away."""
        self.give_up()
        self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        going = True
        while going:
            batch = [self._waiting.get()]
            while not self._waiting.empty() and len(batch) < MAX_BATCH:
                batch.append(self._waiting.get())
            going = None not in batch
            # From here on nobody can withdraw a write: its outcome is told even if nobody listens.
            writes = [write for write in batch if write and write.done.set_running_or_notify_cancel()]
            if writes:
                metrics.transaction_writes.observe(len(writes))
                # In id order, like whatever touches several rows: it waits for others, but never deadlocks.
                self._commit(sorted(writes, key=lambda write: write.participant_id))

    def _commit(self, writes: list[_Write]) -> None:
        try:
            with contextlib.ExitStack() as points:
                for write in writes:
                    points.enter_context(faults.around(write.place))
                results = self._when_there(lambda connection: [write.work(connection) for write in writes])
        except Exception as error:  # noqa: BLE001 - it belongs to whoever handed in the write
            if len(writes) == 1:
                writes[0].done.set_exception(error)
                return
            # One of them is at fault; each gets a transaction of its own, and its own answer.
            for write in writes:
                self._commit([write])
            return
        for write, result in zip(writes, results, strict=True):
            write.done.set_result(result)

    def _when_there(self, work: Callable[[Connection], Result]) -> Result:
        while True:
            try:
                return self._store.write(work)
            except ServiceUnavailable:
                if self._impatient.is_set():
                    raise
                log.warning("the store is away; waiting for it")
                time.sleep(STORE_RETRY_S)
