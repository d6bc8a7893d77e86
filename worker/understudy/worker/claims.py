"""Claims: takes participants for the runs that wait for them, many in one transaction."""

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import Connection

from understudy.domain.runs import RunSpec
from understudy.store import dispatch, leases, lifecycle, lineage
from understudy.store.engine import AnyRow
from understudy.store.run_states import RunState, load_run_states
from understudy.worker.steps import HISTORY_LENGTH, ClaimedRun


class RunResult(Enum):
    """How a run ended in this process."""

    #: The claim updated no row: a duplicate or stale message.
    DROPPED = "dropped"
    #: This process cannot claim, for example without a live lease. Another worker should get the message.
    REFUSED = "refused"
    #: Completed or failed.
    ENDED = "ended"
    #: Pending again, to continue on another worker.
    RELEASED = "released"
    #: Cancelled, or claimed by another worker.
    STOPPED = "stopped"
    #: The store was unavailable for too long to write the end; the lease expires.
    UNKNOWN = "unknown"


class RunReport(NamedTuple):
    """How a run ended in this process, and the state of its participant then; None if that is not known here."""

    result: RunResult
    state: RunState | None = None


class ClaimingRun(Protocol):
    """A run that waits for its claim."""

    participant_id: UUID
    #: Number of the message that started it.
    dispatch_no: int | None
    #: The run no longer waits.
    claim_timed_out: bool
    #: The state of its participant, if no claim is possible; None if there is no such participant.
    state: RunState | None
    #: The `WorkerContext` of its process.
    context: Any


def claim_batch(connection: Connection, runs: Sequence[ClaimingRun]) -> list[ClaimedRun | RunResult]:
    """Claims for `runs`, which share a context; returns the claimed data of each, or why there is none."""
    context = runs[0].context
    worker_id = context.worker_id()
    ids = list(dict.fromkeys(run.participant_id for run in runs if not run.claim_timed_out))
    # Without numbers only where no broker delivers them.
    has_number = any(run.dispatch_no is not None for run in runs)
    rows = lifecycle.claim_all(connection, ids, worker_id, quarantine=context.quarantine, has_number=has_number)
    specs = lineage.load_run_specs(connection, list(rows))
    lost = None
    states: dict[UUID, RunState] = {}
    results: list[ClaimedRun | RunResult] = []
    for run in runs:
        # If two runs claim the same participant, the first gets it.
        row = None if run.claim_timed_out else rows.pop(run.participant_id, None)
        if row is not None:
            if row.dispatch_no != run.dispatch_no:
                dispatch.forget_publication(connection, row.id)
            results.append(_claimed(connection, row, specs[row.id]))
            continue
        if lost is None:
            lost = RunResult.DROPPED if leases.is_live(connection, worker_id) else RunResult.REFUSED
            # Few messages are dropped: they were published twice, or cancelled.
            states = load_run_states(connection, ids) if lost is RunResult.DROPPED else {}
        run.state = states.get(run.participant_id)
        results.append(RunResult.REFUSED if run.claim_timed_out else lost)
    return results


def _claimed(connection: Connection, row: AnyRow, spec: RunSpec) -> ClaimedRun:
    instructions = lineage.instructions(connection, row.id) if row.instruction else ()
    if row.interaction_count == 0:
        return ClaimedRun(row, spec, None, (), instructions)
    return ClaimedRun(
        row,
        spec,
        lineage.load_checkpoint(connection, row.id),
        lineage.latest_interactions(connection, row.id, HISTORY_LENGTH),
        instructions,
    )
