"""The runner: executes all runs of a process on one asyncio loop in its own thread."""

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

from understudy.environments.page_lanes import page_lanes
from understudy.isolation.resolver import resolvers
from understudy.isolation.step_loop import StepLoop
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import Publisher
from understudy.store.guards import Claim
from understudy.worker.claims import RunReport, RunResult
from understudy.worker.run import Run, in_step
from understudy.worker.run_usage import Measured
from understudy.worker.worker_context import WorkerContext

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: The run of the current task.
_current_run: contextvars.ContextVar[Run] = contextvars.ContextVar("current_run")


class Runner:
    """Runs participants for the pool and aborts them on request. Thread-safe.

    Steps wait for networks for seconds, so one loop serves hundreds.
    """

    def __init__(self, context: WorkerContext, publisher: Publisher, notifier: Notifier) -> None:
        self._context = context
        self._publisher = publisher
        self._notifier = notifier
        self._runs: set[Run] = set()
        self._loop = StepLoop()
        self._loop.set_task_factory(self._create_task)
        self._owners: weakref.WeakKeyDictionary[asyncio.Task[Any], Run] = weakref.WeakKeyDictionary()
        self._thread = threading.Thread(target=self._loop.run_forever, name="steps", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Runs `work` on the loop of all runs; returns immediately."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def run(self, participant_id: UUID, dispatch_no: int | None = None) -> RunReport:
        """Runs a participant to its end and publishes the result; call it on the runner's loop.

        `dispatch_no` is the number of the message that asks for the run; None if it is unknown.
        """
        run = Run(participant_id, self._context, dispatch_no)
        _current_run.set(run)
        self._runs.add(run)
        try:
            # In a new task, which `_create_task` assigns to this run.
            result = await asyncio.create_task(run.execute())
        finally:
            self._runs.remove(run)
        if result is RunResult.RELEASED:
            self._publisher.enqueue_refill()
        elif result in {RunResult.ENDED, RunResult.STOPPED}:
            self._notifier.enqueue([participant_id])
        return RunReport(result, run.state)

    def abort(self, participant_ids: Iterable[UUID]) -> None:
        """Aborts the steps in flight of participants that run here; returns immediately."""
        ids = frozenset(participant_ids)
        self._loop.call_soon_threadsafe(self._abort, ids)

    def abort_all(self) -> None:
        """Aborts all steps in flight; returns immediately, and does nothing after `close`."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._abort, None)

    def claims(self) -> dict[UUID, Claim]:
        """Returns the claims of the current runs by participant."""
        return {run.claim.participant_id: run.claim for run in tuple(self._runs) if run.claim}

    def pending_claims(self) -> set[UUID]:
        """Returns participants whose run awaits its claim; the claim may already be committed."""
        return {run.participant_id for run in tuple(self._runs) if run.claim is None}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Returns the loop of all steps."""
        return self._loop

    def claim_of(self, task: asyncio.Task[Any] | None) -> Claim | None:
        """Returns the claim of the run that `task` belongs to; None if unknown."""
        run = self._owners.get(task) if task is not None else None
        return run.claim if run is not None else None

    def lose_largest(self, at_least_mb: int) -> UUID | None:
        """Aborts the run whose steps made the process grow most, if by at least so much; it counts a loss.

        Returns its participant; None if no run did.
        """
        runs = [run for run in tuple(self._runs) if run.claim and run.grown_kb >= at_least_mb * 1024]
        largest = max(runs, key=lambda run: run.grown_kb, default=None)
        if largest is None:
            return None
        self._loop.call_soon_threadsafe(largest.lose)
        return largest.participant_id

    def close(self) -> None:
        """Stops the loop. Call it after all runs have ended."""
        asyncio.run_coroutine_threadsafe(_close_shared(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _create_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """Creates a task and records its run, also for tasks that plug-ins start."""
        run = _current_run.get(None)
        if run is not None and in_step.get():
            coroutine = Measured(coroutine, run)
        task = asyncio.Task(coroutine, loop=loop, **options)
        if run is not None:
            self._owners[task] = run
        return task

    def _abort(self, ids: frozenset[UUID] | None) -> None:
        for run in tuple(self._runs):
            if ids is None or run.participant_id in ids:
                run.abort()


async def _close_shared() -> None:
    """Closes what environments share on this loop."""
    await page_lanes.get().close()
    await resolvers.get().close()
