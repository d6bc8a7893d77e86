"""Runs one participant: claims it, then steps and commits until it is terminal or the run is interrupted."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import StatementError

from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import FailureKind, Outcome, Status
from understudy.domain.runs import Step
from understudy.domain.text import sanitize
from understudy.environments import EnvironmentUnreachable
from understudy.plugins.time_limits import Limits, RunFailed, current_timer, start_timer
from understudy.store import lifecycle, recovery, stops
from understudy.store.engine import StoreError
from understudy.store.failures import is_value_error
from understudy.store.guards import Claim
from understudy.store.lifecycle import Commit, CommitResult
from understudy.store.run_states import RunState, load_run_states
from understudy.telemetry import logs, metrics, traces
from understudy.worker.claims import RunResult, claim_batch
from understudy.worker.committer import BatchWrite
from understudy.worker.simulator_errors import simulator_error
from understudy.worker.steps import ClaimedRun, SimulationSession
from understudy.worker.worker_context import WorkerContext

log = logging.getLogger(__name__)

#: Seconds of processor time that a step may take without a pause after it, and the longest pause. The pause grows with
#: the number of runs, so that hungry ones take half of the process at most.
FREE_LOOP_S, MAX_PAUSE_S = 0.005, 2.0
#: Size of a state that takes a second of processor time to store.
STORED_PER_S = 20_000_000
#: True in a step and in the tasks that it starts.
in_step: ContextVar[bool] = ContextVar("in_step", default=False)

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ERROR_LENGTH = 500
#: Seconds that a cancelled step or a closing environment may take to end.
CLEANUP_TIMEOUT_S = 5
#: Seconds that a claim may take; after that, the process requeues the message for other workers.
CLAIM_TIMEOUT_S = 4


#: Seconds before a run whose write was refused is released: its next claim repeats the step in flight.
REFUSED_WRITE_PAUSE_S = 3


class RunInterrupted(Exception):
    """The run must stop without ending: aborted, released, or its claim is lost."""


class Run:
    """Runs one participant once. Call all methods in the loop's thread."""

    def __init__(self, participant_id: UUID, context: WorkerContext, dispatch_no: int | None = None) -> None:
        self.participant_id = participant_id
        self.dispatch_no = dispatch_no
        #: The run no longer waits for its claim.
        self.claim_timed_out = False
        #: Set while the run holds the participant.
        self.claim: Claim | None = None
        #: The state of the participant when the run has ended; None if it is not known.
        self.state: RunState | None = None
        self.context = context
        #: Growth of the process's peak memory in the steps of this run, in kilobytes.
        self.grown_kb = 0
        #: Processor time of its latest step on the event loop, in seconds.
        self.used_s = 0.0
        self._lost = False
        self._step: asyncio.Task[Step] | None = None
        self._aborted = False
        self._cancel_requested = False
        self._cleanup_expired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: Monotonic time at which an aborted step had ended.
        self._aborted_at: float | None = None
        self._written_at = time.monotonic()

    def abort(self) -> None:
        """Aborts the step in flight at its next await; idempotent.

        The run then releases the participant if it is still running, or records the stop of a cancelled one.
        """
        self._aborted = True
        if self._step is not None:
            self._cancel_step(self._step)
            asyncio.get_running_loop().call_later(CLEANUP_TIMEOUT_S, self._expire_cleanup)

    def lose(self) -> None:
        """Aborts the run, which then counts a loss: it would take down its worker."""
        self._lost = True
        self.abort()

    def _cancel_step(self, step: asyncio.Task[Step]) -> None:
        """Cancels `step` once: a second cancel while it closes a connection would leave the connection open.

        An abort can arrive twice, by a broadcast and by the heartbeat.
        """
        if not self._cancel_requested:
            self._cancel_requested = True
            step.cancel()

    def _expire_cleanup(self) -> None:
        if not self._cleanup_expired.done():
            self._cleanup_expired.set_result(None)

    async def execute(self) -> RunResult:
        """Claims the participant and runs it; returns how the run ended."""
        claimed = await self._claim()
        if isinstance(claimed, RunResult):
            return claimed
        row = claimed.row
        self.claim = claim = Claim(row.id, row.epoch)
        logs.bind(study=row.study_id, ask=row.ask_id, epoch=row.epoch, attempt=row.attempt)
        began = self._written_at = time.monotonic()
        log.info("participant %s: run started", self.participant_id)
        try:
            result = await self._run_claimed(claimed, claim)
            log.info(
                "participant %s: run ended: %s after %.1f s", self.participant_id, result.name, time.monotonic() - began
            )
            return result  # noqa: TRY300 - the failures below are logged by themselves
        except ServiceUnavailable:
            log.warning("participant %s: store unavailable; its lease will expire", self.participant_id)
            return RunResult.UNKNOWN
        except StoreError as error:
            log.warning("participant %s: the store refuses its release", self.participant_id, exc_info=error)
            return RunResult.UNKNOWN
        finally:
            self.claim = None

    async def _claim(self) -> ClaimedRun | RunResult:
        """Returns the claimed data, or the reason for none; REFUSED after CLAIM_TIMEOUT_S.

        A claim that timed out is skipped. If its commit is in progress, it may still succeed; the heartbeat
        then finds a claim without a run and releases it.
        """
        claiming = asyncio.create_task(self._write_batched(claim_batch, self, "claim.commit"))
        await asyncio.wait({claiming}, timeout=CLAIM_TIMEOUT_S)
        if not claiming.done():
            self.claim_timed_out = True
            claiming.cancel()
            return RunResult.REFUSED
        try:
            return claiming.result()
        except ServiceUnavailable:
            return RunResult.REFUSED

    async def _run_claimed(self, claimed: ClaimedRun, claim: Claim) -> RunResult:
        try:
            return await self._run_steps(claimed, claim)
        except RunInterrupted:
            return await self._release_or_stop(claim)
        except RunFailed as failure:
            message = sanitize(str(failure))[:MAX_ERROR_LENGTH]
            end = partial(lifecycle.fail, claim=claim, kind=failure.kind, message=message, used=failure.used)
            return await self._end(end, claim, Status.FAILED, failure.kind)
        except StoreError as error:
            # Not the participant's fault, and no wait for a store that answers: another worker may do better.
            log.warning("participant %s: the store refused a write of its run", self.participant_id, exc_info=error)
            await asyncio.sleep(REFUSED_WRITE_PAUSE_S)
            return await self._release_or_stop(claim)

    async def _write(self, work: Callable[[Connection], Result], site: str) -> Result:
        with traces.span(site):
            return await self.context.committer.write(self.participant_id, work, site)

    async def _write_batched(self, work: BatchWrite[Item, Result], item: Item, site: str) -> Result:
        with traces.span(site):
            return await self.context.committer.write_batched(self.participant_id, work, item, site)

    async def _run_steps(self, claimed: ClaimedRun, claim: Claim) -> RunResult:
        """Steps and commits until a step ends the run. Raises RunInterrupted or RunFailed."""
        try:
            context = self.context
            session = SimulationSession(claimed, addresses=context.addresses, secrets=context.secrets)
        except Exception as error:
            raise simulator_error(self.participant_id, "cannot start", error) from error
        spec = claimed.spec
        limits = Limits.from_claim(spec.step_timeout_s, spec.run_timeout_s, claimed.row.claimed_ms)
        try:
            while session.remaining > 0:
                if self._aborted or self.context.is_shutting_down():
                    raise RunInterrupted
                with traces.span("step"):
                    step = await self._run_step(session, limits)
                metrics.observe_step(spec.content["environment"], spec.mind, step.duration_ms / 1000)
                committed = await self._commit(claim, step)
                if not metrics.count_commit(bool(committed)):
                    raise RunInterrupted
                if step.ends:
                    metrics.count_ended(Status.COMPLETED, step.outcome)
                    self.state = RunState(Status.COMPLETED, step.outcome, step.index + 1, claimed.row.dispatch_no)
                    return RunResult.ENDED
                session.remember(step)
                if self.context.quarantine or committed is CommitResult.STORED_LAST:
                    raise RunInterrupted
        finally:
            await self._close(session)
        # The run resumed at its cap.
        end = partial(lifecycle.complete, claim=claim, outcome=Outcome.CAP_REACHED)
        return await self._end(end, claim, Status.COMPLETED, Outcome.CAP_REACHED)

    async def _run_step(self, session: SimulationSession, limits: Limits) -> Step:
        """Runs one step within its limits. Raises RunInterrupted or RunFailed."""
        limit_s, timeout = limits.next_step_limit()
        timer = start_timer(limit_s)
        token = in_step.set(True)
        self._step = step = asyncio.create_task(self._next_step(session))
        in_step.reset(token)
        in_time = await self._wait_for_step(step, limit_s)
        while not in_time and not self._aborted and timer.remaining_s() > 0:
            # Waits for shared resources count for the run's limit but not for the step's.
            limit_s, timeout = limits.next_step_limit()
            if limit_s <= 0:
                break
            in_time = await self._wait_for_step(step, min(limit_s, timer.remaining_s()))
        if not in_time and not self._aborted:
            self._cancel_step(step)
            await self._wait_for_step(step, CLEANUP_TIMEOUT_S)
        if step.done():
            self._step = None
            self._aborted_at = time.monotonic() if self._aborted else None
        else:
            log.warning("participant %s: step did not end after cancellation", self.participant_id)
            # `_cancel_step` cancels only once, and nothing waits for this step any more.
            step.cancel()
        if self._aborted or not in_time:
            step.add_done_callback(_consume_result)
            raise RunInterrupted if self._aborted else timeout.because(timer.delayed_by)
        try:
            return step.result()
        except EnvironmentUnreachable as error:
            raise RunFailed(FailureKind.ENVIRONMENT_ERROR, str(error)) from error
        except (Exception, asyncio.CancelledError) as error:
            # A plug-in may raise anything; only its participant fails.
            raise simulator_error(self.participant_id, "failed in a step", error) from error

    def _next_step(self, session: SimulationSession) -> Coroutine[Any, Any, Step]:
        """Returns the next step; it waits first if the one before took much of this process, so that others get it."""
        excess_s = self.used_s + session.stored_size / STORED_PER_S - FREE_LOOP_S
        self.used_s = 0.0
        if excess_s <= 0:
            return session.step()
        return _step_after(min(2 * excess_s * self.context.count_runs(), MAX_PAUSE_S), session)

    async def _wait_for_step(self, step: asyncio.Task[Step], timeout_s: float) -> bool:
        """Returns whether `step` ended within `timeout_s` and at most CLEANUP_TIMEOUT_S after its abort."""
        either: set[asyncio.Future[Any]] = {step, self._cleanup_expired}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return step.done()

    async def _close(self, session: SimulationSession) -> None:
        """Closes the session; logs errors, because they must not change how the participant ends."""
        try:
            async with asyncio.timeout(CLEANUP_TIMEOUT_S):
                await session.close()
        except Exception as error:
            log.warning("participant %s: closing the environment failed", self.participant_id, exc_info=error)

    async def _commit(self, claim: Claim, step: Step) -> CommitResult:
        commit = Commit(claim, step, self._elapsed_claim_ms())
        try:
            return await self._write_batched(lifecycle.commit_steps, commit, "step.commit")
        except (ValueError, TypeError, OverflowError, RecursionError, StatementError) as error:
            if not is_value_error(error):
                raise
            raise simulator_error(self.participant_id, "made an interaction that cannot be stored", error) from error

    async def _end(self, end: Callable[..., bool], claim: Claim, status: Status, reason: str) -> RunResult:
        claimed_ms = self._elapsed_claim_ms()

        def end_and_look(connection: Connection) -> bool:
            has_ended = end(connection, claimed_ms=claimed_ms)
            self._look(connection)
            return has_ended

        if not await self._write(end_and_look, "end.commit"):
            return await self._release_or_stop(claim)
        metrics.count_ended(status, reason)
        return RunResult.ENDED

    async def _release_or_stop(self, claim: Claim) -> RunResult:
        """Releases a running participant or records the stop of a cancelled one; leaves any other alone."""
        claimed_ms = self._elapsed_claim_ms()
        stopped: list[stops.Stopped] = []
        aborted_ago_s: float | None = None

        def release(connection: Connection) -> RunResult:
            nonlocal aborted_ago_s
            if self._lost:
                ended = recovery.lose(connection, claim, claimed_ms, self.context.max_attempts)
                if ended is not None:
                    self._look(connection)
                    return RunResult.ENDED if ended is Status.FAILED else RunResult.RELEASED
            elif lifecycle.release(connection, claim, claimed_ms):
                return RunResult.RELEASED
            # A step that does not end has not stopped: the sweeper records its stop later.
            if self._step is None:
                aborted_ago_s = self._aborted_at and time.monotonic() - self._aborted_at
                stopped[:] = stops.record_stop(connection, claim.participant_id, claim=claim)
            self._look(connection)
            return RunResult.STOPPED

        result = await self._write(release, "release.commit")
        if self._lost:
            metrics.count_recovered(result is RunResult.RELEASED, result is RunResult.ENDED)
        for stop in stopped:
            metrics.observe_run_stop(stop.after_s, aborted_ago_s)
        return result

    def _look(self, connection: Connection) -> None:
        """Keeps the state that the participant has in this transaction, for `state`."""
        self.state = load_run_states(connection, [self.participant_id]).get(self.participant_id)

    def _elapsed_claim_ms(self) -> int:
        """Returns the milliseconds of the claim since the last write, and restarts the count."""
        now = time.monotonic()
        elapsed_s, self._written_at = now - self._written_at, now
        return round(elapsed_s * 1000)


async def _step_after(pause_s: float, session: SimulationSession) -> Step:
    """Performs a step after a pause, which does not count for the step's time limit."""
    with current_timer().paused():
        await asyncio.sleep(pause_s)
    return await session.step()


def _consume_result(step: asyncio.Task[Step]) -> None:
    """Reads the result of an abandoned step, so that asyncio does not log it as never retrieved."""
    step.cancelled() or step.exception()
