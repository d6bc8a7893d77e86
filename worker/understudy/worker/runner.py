"""The runner: all runs of a process on one asyncio loop, in a thread of its own."""

import asyncio
import contextlib
import contextvars
import logging
import threading
import weakref
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar
from uuid import UUID

from understudy.queue.notifications import Notifier
from understudy.queue.publisher import Publisher
from understudy.store.guards import Claim
from understudy.worker.run import Run, RunResult, WorkerContext

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: The run that the code at hand works for.
_current_run: contextvars.ContextVar[Run] = contextvars.ContextVar("current_run")


class Runner:
    """Runs participants for the pool, and aborts them when told. Thread-safe.

    Steps wait on networks for seconds, so hundreds share the loop.
    """

    def __init__(self, house: WorkerContext, publisher: Publisher, notifier: Notifier) -> None:
        self._house = house
        self._publisher = publisher
        self._notifier = notifier
        self._runs: set[Run] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._create_task)
        self._owners: weakref.WeakKeyDictionary[asyncio.Task[Any], Run] = weakref.WeakKeyDictionary()
        self._thread = threading.Thread(target=self._loop.run_forever, name="steps", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Have it done on the loop of all runs; returns at once."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def run(self, participant_id: UUID) -> RunResult:
        """Run a participant to its end and tell who waits; on the runner's loop."""
        run = Run(participant_id, self._house)
        _current_run.set(run)
        self._runs.add(run)
        try:
            # A task of its own, and so one that is known to work for this run.
            ending = await asyncio.create_task(run.execute())
        finally:
            self._runs.remove(run)
        if ending is RunResult.RELEASED:
            self._publisher.enqueue_run_messages([participant_id])
        elif ending in {RunResult.ENDED, RunResult.STOPPED}:
            self._notifier.enqueue([participant_id])
        return ending

    def abort(self, participant_ids: Iterable[UUID]) -> None:
        """Cut the steps in flight of these, if they run here; returns at once."""
        ids = frozenset(participant_ids)
        self._loop.call_soon_threadsafe(self._abort, ids)

    def abort_all(self) -> None:
        """Cut all steps in flight; returns at once, also when this is closed and nothing is."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._abort, None)

    def claims(self) -> dict[UUID, Claim]:
        """What runs here now."""
        return {run.claim.participant_id: run.claim for run in tuple(self._runs) if run.claim}

    def pending_claims(self) -> set[UUID]:
        """Who is about to run here: claimed perhaps, but the loop has not come to it yet."""
        return {run.participant_id for run in tuple(self._runs) if run.claim is None}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which all steps run."""
        return self._loop

    def claim_of(self, task: asyncio.Task[Any] | None) -> Claim | None:
        """The claim that `task` works for; None if that is unknown."""
        run = self._owners.get(task) if task is not None else None
        return run.claim if run is not None else None

    def close(self) -> None:
        """Stop the loop. All runs have ended before."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _create_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        """Tasks as usual, but it is known for which run they work: also those that plug-ins start."""
        task = asyncio.Task(coroutine, loop=loop, **options)
        run = _current_run.get(None)
        if run is not None:
            self._owners[task] = run
        return task

    def _abort(self, ids: frozenset[UUID] | None) -> None:
        for run in tuple(self._runs):
            if ids is None or run.participant_id in ids:
                run.abort()
