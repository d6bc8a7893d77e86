"""One participant in this process: claim, then step and commit until it is done or taken away."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import StatementError

from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import FailureKind, Outcome, Status
from understudy.domain.runs import RunSpec, Step
from understudy.domain.text import sanitize
from understudy.environments import EnvironmentUnreachable
from understudy.models import ModelFailed
from understudy.plugins.secrets import Secrets
from understudy.plugins.time_limits import Limits, RunFailed, start_timer
from understudy.store import leases, lifecycle, lineage, stops
from understudy.store.engine import AnyRow
from understudy.store.guards import Claim
from understudy.store.lifecycle import Commit
from understudy.telemetry import logs, metrics, traces
from understudy.worker.committer import BatchWrite, Committer
from understudy.worker.session import HISTORY_LENGTH, ClaimedRun, SimulationSession

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ERROR_LENGTH = 500
#: Seconds a step that was told to end, or an environment that is closed, may take over it.
CLEANUP_TIMEOUT_S = 5
#: Seconds that a claim may take: a process whose store hangs must not keep messages to itself.
CLAIM_TIMEOUT_S = 4


class RunResult(Enum):
    """How a run left this process."""

    #: It was not to be had: duplicate, stale or void message.
    DROPPED = "dropped"
    #: This process may not claim now: its lease ran out. Somebody else should have the message.
    REFUSED = "refused"
    #: Completed or failed.
    ENDED = "ended"
    #: Pending again, to go on elsewhere.
    RELEASED = "released"
    #: Cancelled, or taken over by somebody else.
    STOPPED = "stopped"
    #: The store was away for too long to tell it anything; the lease runs out.
    UNKNOWN = "unknown"


class RunInterrupted(Exception):
    """The run was taken away: aborted, or its claim is no longer good."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What the runs of a process share."""

    committer: Committer
    #: The lease under which claims are made now.
    worker_id: Callable[[], UUID]
    #: True while the process is about to go: runs stop at the next interaction.
    is_shutting_down: Callable[[], bool]
    allow_private_hosts: bool
    #: Runs that lost their workers: each is given back after one interaction, since it got past what killed
    #: them, and others wait for its place.
    quarantine: bool = False
    #: What environments may send where.
    secrets: Secrets = field(default_factory=Secrets)


class Run:
    """Runs one participant, once. All methods belong to the loop's thread."""

    def __init__(self, participant_id: UUID, house: WorkerContext) -> None:
        self.participant_id = participant_id
        #: Nobody waits for the claim any more.
        self.claim_timed_out = False
        #: Set while it holds the participant.
        self.claim: Claim | None = None
        self.context = house
        self._step: asyncio.Task[Step] | None = None
        self._aborted = False
        self._cancel_requested = False
        self._cleanup_expired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: Monotonic time at which an abort had cut the step in flight.
        self._aborted_at: float | None = None
        self._written_at = time.monotonic()

    def abort(self) -> None:
        """Cut the step in flight at its next await; safe at any time, any number of times.

        The run then asks the store what it is: a cancelled participant has stopped, one that still runs is
        given back.
        """
        self._aborted = True
        if self._step is not None:
            self._cancel_step(self._step)
            asyncio.get_running_loop().call_later(CLEANUP_TIMEOUT_S, self._expire_cleanup)

    def _cancel_step(self, step: asyncio.Task[Step]) -> None:
        """Once, as it is the last of this run: who is told again while closing a connection leaves it open.

        A cancel comes by a broadcast and, at about the same time, by the heartbeat.
        """
        if not self._cancel_requested:
            self._cancel_requested = True
            step.cancel()

    def _expire_cleanup(self) -> None:
        if not self._cleanup_expired.done():
            self._cleanup_expired.set_result(None)

    async def execute(self) -> RunResult:
        """Claim and run to the end."""
        claimed = await self._claim()
        if isinstance(claimed, RunResult):
            return claimed
        row = claimed.row
        self.claim = claim = Claim(row.id, row.epoch)
        logs.bind(study=row.study_id, ask=row.ask_id, epoch=row.epoch, attempt=row.attempt)
        self._written_at = time.monotonic()
        try:
            return await self._run_claimed(claimed, claim)
        except ServiceUnavailable:
            log.warning("participant %s: the store does not answer, its lease runs out", self.participant_id)
            return RunResult.UNKNOWN
        finally:
            self.claim = None

    async def _claim(self) -> ClaimedRun | RunResult:
        """What a claim yields, or why there is none; in time, or somebody else should have the message.

        A claim that is given up is not made any more. One whose commit is under way just then may be; the
        heartbeat finds that nobody runs it, and gives it back.
        """
        claiming = asyncio.create_task(self._share(_claim_batch, self, "claim.commit"))
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

    async def _write(self, work: Callable[[Connection], Result], place: str) -> Result:
        with traces.span(place):
            return await self.context.committer.write(self.participant_id, work, place)

    async def _share(self, work: BatchWrite[Item, Result], item: Item, place: str) -> Result:
        with traces.span(place):
            return await self.context.committer.write_batched(self.participant_id, work, item, place)

    async def _run_steps(self, claimed: ClaimedRun, claim: Claim) -> RunResult:
        """Step and commit until a step ends the run. Raises Abandoned or Failed."""
        try:
            house = self.context
            walk = SimulationSession(
                claimed, allow_private_hosts=house.allow_private_hosts, secrets=house.secrets
            )
        except Exception as error:
            raise self._simulator_error("cannot start", error) from error
        around, limits = claimed.surroundings, _limits_of(claimed)
        try:
            while walk.remaining > 0:
                if self._aborted or self.context.is_shutting_down():
                    raise RunInterrupted
                with traces.span("step"):
                    step = await self._run_step(walk, limits)
                metrics.observe_step(around.content["environment"], around.mind, step.duration_ms / 1000)
                if not metrics.count_commit(await self._commit(claim, step)):
                    raise RunInterrupted
                if step.ends:
                    metrics.count_ended(Status.COMPLETED, step.outcome)
                    return RunResult.ENDED
                walk.remember(step)
                if self.context.quarantine:
                    raise RunInterrupted
        finally:
            await self._close(walk)
        # Taken up again right at its cap.
        end = partial(lifecycle.complete, claim=claim, outcome=Outcome.CAP_REACHED)
        return await self._end(end, claim, Status.COMPLETED, Outcome.CAP_REACHED)

    async def _run_step(self, walk: SimulationSession, limits: Limits) -> Step:
        """One step, within its limits. Raises Abandoned or Failed."""
        limit_s, too_long = limits.next_step_limit()
        time_left = start_timer(limit_s)
        self._step = step = asyncio.create_task(walk.step())
        in_time = await self._wait_for_step(step, limit_s)
        while not in_time and not self._aborted and time_left.remaining_s() > 0:
            # It waited for its turn at something, which does not count; what the run may take still does.
            limit_s, too_long = limits.next_step_limit()
            if limit_s <= 0:
                break
            in_time = await self._wait_for_step(step, min(limit_s, time_left.remaining_s()))
        if not in_time and not self._aborted:
            self._cancel_step(step)
            await self._wait_for_step(step, CLEANUP_TIMEOUT_S)
        if step.done():
            self._step = None
            self._aborted_at = time.monotonic() if self._aborted else None
        else:
            log.warning("participant %s: step did not end after cancellation", self.participant_id)
            # Nobody is there to tell it later.
            step.cancel()
        if self._aborted or not in_time:
            step.add_done_callback(_consume_result)
            raise RunInterrupted if self._aborted else too_long
        try:
            return step.result()
        except EnvironmentUnreachable as error:
            raise RunFailed(FailureKind.ENVIRONMENT_ERROR, str(error)) from error
        except (Exception, asyncio.CancelledError) as error:
            # A plug-in may raise anything; its participant fails, and nobody else's.
            raise self._simulator_error("failed in a step", error) from error

    async def _wait_for_step(self, step: asyncio.Task[Step], timeout_s: float) -> bool:
        """Wait for a step to end, but no longer than `timeout_s`, nor much longer than its abort."""
        either: set[asyncio.Future[Any]] = {step, self._cleanup_expired}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return step.done()

    async def _close(self, walk: SimulationSession) -> None:
        """Whatever an environment does when it is closed, its participant ends as it would have."""
        try:
            async with asyncio.timeout(CLEANUP_TIMEOUT_S):
                await walk.close()
        except Exception as error:
            log.warning("participant %s: closing broke", self.participant_id, exc_info=error)

    async def _commit(self, claim: Claim, step: Step) -> bool:
        commit = Commit(claim, step, self._elapsed_claim_ms())
        try:
            return await self._share(lifecycle.commit_steps, commit, "step.commit")
        except (ValueError, TypeError, StatementError) as error:
            raise self._simulator_error("made an interaction that cannot be stored", error) from error

    def _simulator_error(self, what: str, error: BaseException) -> RunFailed:
        log.warning("participant %s %s", self.participant_id, what, exc_info=error)
        if isinstance(error, ModelFailed):
            return RunFailed(FailureKind.SIMULATOR_ERROR, str(error), error.usage)
        return RunFailed(FailureKind.SIMULATOR_ERROR, f"{type(error).__name__}: {error}")

    async def _end(self, end: Callable[..., bool], claim: Claim, status: Status, reason: str) -> RunResult:
        end = partial(end, claimed_ms=self._elapsed_claim_ms())
        if not await self._write(end, "end.commit"):
            return await self._release_or_stop(claim)
        metrics.count_ended(status, reason)
        return RunResult.ENDED

    async def _release_or_stop(self, claim: Claim) -> RunResult:
        """Give back what still runs, record the stop of what was cancelled; anything else is another's."""
        held_ms = self._elapsed_claim_ms()
        stopped: list[stops.Stopped] = []
        cut_ago_s: float | None = None

        def release(connection: Connection) -> RunResult:
            nonlocal cut_ago_s
            if lifecycle.release(connection, claim, held_ms):
                return RunResult.RELEASED
            # Of a step that does not end nobody knows that it has stopped: the sweeper assumes it one day.
            if self._step is None:
                cut_ago_s = self._aborted_at and time.monotonic() - self._aborted_at
                stopped[:] = stops.mark_stopped(connection, claim.participant_id, held=claim)
            return RunResult.STOPPED

        ending = await self._write(release, "give_back.commit")
        for stop in stopped:
            metrics.observe_run_stop(stop.after_s, cut_ago_s)
        return ending

    def _elapsed_claim_ms(self) -> int:
        """Milliseconds since this was last asked: how long the row was held since its last write."""
        now = time.monotonic()
        held, self._written_at = now - self._written_at, now
        return round(held * 1000)


def _limits_of(claimed: ClaimedRun) -> Limits:
    given = claimed.surroundings
    return Limits.from_claim(given.step_timeout_s, given.run_timeout_s, claimed.row.claimed_ms)


def _consume_result(step: asyncio.Task[Step]) -> None:
    """Look at what a step nobody waits for came to, so that nobody warns of it: it does not matter."""
    step.cancelled() or step.exception()


def _claim_batch(connection: Connection, runs: Sequence[Run]) -> list[ClaimedRun | RunResult]:
    """Claim for all of these runs, which share a house: what each yields, or why there is none."""
    worker_id = runs[0].context.worker_id()
    wanted = list(dict.fromkeys(run.participant_id for run in runs if not run.claim_timed_out))
    rows = lifecycle.claim_all(connection, wanted, worker_id)
    surroundings = lineage.load_run_specs(connection, list(rows))
    lost = None
    taken: list[ClaimedRun | RunResult] = []
    for run in runs:
        # Of two runs of one participant, the first has it.
        row = None if run.claim_timed_out else rows.pop(run.participant_id, None)
        if row is not None:
            taken.append(_claimed(connection, row, surroundings[row.id]))
            continue
        if lost is None:
            lost = RunResult.DROPPED if leases.is_live(connection, worker_id) else RunResult.REFUSED
        taken.append(RunResult.REFUSED if run.claim_timed_out else lost)
    return taken


def _claimed(connection: Connection, row: AnyRow, surroundings: RunSpec) -> ClaimedRun:
    if row.interaction_count == 0:
        # There is nothing yet to go on from.
        told = lineage.instructions(connection, row.id) if row.instruction else ()
        return ClaimedRun(row, surroundings, None, (), told)
    return ClaimedRun(
        row,
        surroundings,
        lineage.load_checkpoint(connection, row.id),
        lineage.latest_interactions(connection, row.id, HISTORY_LENGTH),
        lineage.instructions(connection, row.id) if row.instruction else (),
    )
