"""Every move of a participant, each one guarded statement: whoever comes second changes nothing.

The status guard comes from `TRANSITIONS`; what a run writes is guarded by its epoch too. All functions return
what moved; an empty answer means the race was lost, and nothing was written.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Connection,
    Executable,
    Update,
    bindparam,
    case,
    null,
    update,
)

from understudy.domain.lifecycle import FailureKind, Outcome, Status, TransitionKind
from understudy.domain.queues import Queue
from understudy.domain.runs import Step
from understudy.domain.simulation import Usage
from understudy.store import bulk_parameters, usage
from understudy.store.engine import AnyRow, store_clock
from understudy.store.events import NewEvent, flush_outbox, record, record_bulk
from understudy.store.guards import Claim, epoch_fence, lease_is_live, lock_in_id_order, transition
from understudy.store.interactions import is_stored, store_steps
from understudy.store.schema import Tables

_p = Tables.participant
_lease = Tables.lease


class Commit(NamedTuple):
    """A step that a run has taken and wants stored."""

    claim: Claim
    step: Step
    #: How long the run has held its row since its last write.
    claimed_ms: int

    def as_row(self) -> dict[str, Any]:
        """What decides whether it may be stored, and what it changes in its participant's row."""
        outcome = self.step.outcome
        return {
            "id": self.claim.participant_id.hex,
            "epoch": self.claim.epoch,
            "interaction_count": self.step.index,
            "claimed_ms": self.claimed_ms,
            "outcome": None if outcome is None else str(outcome),
        }


# -- what a worker does ------------------------------------------------------------------------------------


def claim(connection: Connection, participant_id: UUID, worker_id: UUID) -> AnyRow | None:
    """`claim_all` of one: its row as it is now, or None when it is not to be had."""
    return claim_all(connection, [participant_id], worker_id).get(participant_id)


def claim_all(connection: Connection, ids: Sequence[UUID], worker_id: UUID) -> dict[UUID, AnyRow]:
    """Take those of `ids` that are pending: their rows as they are now.

    Who is not in the answer had a duplicate, stale or void message: somebody else has it, it was cancelled,
    or this worker's lease has run out.
    """
    statement = _claim(connection.dialect.name)
    rows = connection.execute(statement, {bulk_parameters.IDS_PARAM: ids, "worker": worker_id}).all()
    # Of who was made with many others, that was perhaps told to the outbox only.
    flush_outbox(connection, [row.id for row in rows])
    record(connection, [NewEvent.of_status(r.id, r.seq, Status.RUNNING, attempt=r.attempt) for r in rows])
    return {row.id: row for row in rows}


@cache
def _claim(dialect: str) -> Update:
    return (
        transition(TransitionKind.CLAIM)
        .where(bulk_parameters.in_parameter(dialect, _p.c.id), lease_is_live(bindparam("worker")))
        .values(
            epoch=_p.c.epoch + 1,
            worker_id=bindparam("worker", type_=_p.c.worker_id.type),
            started_at=case((_p.c.started_at.is_(None), store_clock()), else_=_p.c.started_at),
        )
        .returning(_p)
    )


def commit_step(connection: Connection, claim: Claim, step: Step, claimed_ms: int) -> bool:
    """`commit_steps` of one."""
    return commit_steps(connection, [Commit(claim, step, claimed_ms)])[0]


def commit_steps(connection: Connection, commits: Sequence[Commit]) -> list[bool]:
    """Store interactions, their checkpoints and events; where `step.ends`, complete the participant too.

    Each has its own answer. False: that run lost its claim, and nothing of it was written.
    May be repeated when nobody knows whether it was committed: it then tells so, and writes nothing.
    """
    seqs: dict[Claim, int] = {}
    for ends, statement in ((False, _commit_statement), (True, _advance_and_complete)):
        rows = [one.as_row() for one in commits if one.step.ends is ends]
        if rows:
            moved = connection.execute(statement(connection.dialect.name), bulk_parameters.parameter(rows))
            seqs |= {Claim(id_, epoch): seq for id_, epoch, seq in moved}
    landed = [one for one in commits if one.claim in seqs]
    store_steps(connection, [(*one.claim, one.step) for one in landed])
    events: list[NewEvent] = []
    for claim, step, _ in landed:
        id_, seq = claim.participant_id, seqs[claim]
        events.append(NewEvent(id_, seq - step.ends, "interaction", {"index": step.index}))
        if step.ends:
            events.append(NewEvent.of_status(id_, seq, Status.COMPLETED, outcome=step.outcome))
    record(connection, events)
    return [one.claim in seqs or is_stored(connection, *one.claim, one.step.index) for one in commits]


@cache
def _commit_statement(dialect: str) -> Update:
    """Counts one more interaction of each given run that still holds its row."""
    given = bulk_parameters.rows_parameter(
        dialect, _p.c.id, _p.c.epoch, _p.c.interaction_count, _p.c.claimed_ms, _p.c.outcome
    )
    return (
        update(_p)
        .where(
            _p.c.id == given.c.id,
            _p.c.epoch == given.c.epoch,
            _p.c.status == str(Status.RUNNING),
            _p.c.interaction_count == given.c.interaction_count,
        )
        .values(
            seq=_p.c.seq + 1,
            interaction_count=_p.c.interaction_count + 1,
            attempt=0,
            claimed_ms=_p.c.claimed_ms + given.c.claimed_ms,
        )
        .returning(_p.c.id, _p.c.epoch, _p.c.seq)
    )


@cache
def _advance_and_complete(dialect: str) -> Update:
    """Counts the last interaction of each given run that still holds its row, and completes it."""
    given = bulk_parameters.rows_parameter(
        dialect, _p.c.id, _p.c.epoch, _p.c.interaction_count, _p.c.claimed_ms, _p.c.outcome
    )
    return (
        transition(TransitionKind.COMPLETE)
        .where(
            _p.c.id == given.c.id,
            _p.c.epoch == given.c.epoch,
            _p.c.interaction_count == given.c.interaction_count,
        )
        .values(
            # One for the interaction, one for the status.
            seq=_p.c.seq + 2,
            interaction_count=_p.c.interaction_count + 1,
            attempt=0,
            claimed_ms=_p.c.claimed_ms + given.c.claimed_ms,
            outcome=given.c.outcome,
            finished_at=store_clock(),
        )
        .returning(_p.c.id, _p.c.epoch, _p.c.seq)
    )


def complete(connection: Connection, claim: Claim, outcome: Outcome | None, claimed_ms: int) -> bool:
    """Completes a run that has nothing left to do. False: the run lost its claim."""
    word = None if outcome is None else str(outcome)
    statement = (
        transition(TransitionKind.COMPLETE)
        .where(epoch_fence(claim))
        .values(finished_at=store_clock(), claimed_ms=_p.c.claimed_ms + claimed_ms, outcome=word)
        .returning(_p.c.seq)
    )
    return _write_run(connection, claim, statement, Status.COMPLETED, outcome=word)


def fail(
    connection: Connection,
    claim: Claim,
    kind: FailureKind,
    message: str,
    claimed_ms: int,
    used: Usage | None = None,
) -> bool:
    """End a run that cannot go on; `used`: what its last step took all the same. False: it lost its claim."""
    statement = (
        transition(TransitionKind.FAIL)
        .where(epoch_fence(claim))
        .values(
            finished_at=store_clock(),
            claimed_ms=_p.c.claimed_ms + claimed_ms,
            error_kind=str(kind),
            error_message=message,
        )
        .returning(_p.c.seq)
    )
    failed = _write_run(connection, claim, statement, Status.FAILED, error_kind=str(kind))
    if failed and used is not None:
        usage.store(connection, [(claim.participant_id, None, used)])
    return failed


def release(connection: Connection, claim: Claim, claimed_ms: int) -> bool:
    """Give a running participant back, to go on elsewhere from its last interaction. Costs no attempt."""
    statement = (
        transition(TransitionKind.RELEASE)
        .where(epoch_fence(claim))
        .values(
            claimed_ms=_p.c.claimed_ms + claimed_ms,
            worker_id=null(),
            dispatched_at=null(),
            queue=str(Queue.RECOVERED),
            pending_since=store_clock(),
        )
        .returning(_p.c.seq)
    )
    return _write_run(connection, claim, statement, Status.PENDING, reason="released")


def _write_run(
    connection: Connection, claim: Claim, statement: Update, status: Status, **event_data: Any
) -> bool:
    """Executes a run's guarded write, which returns the row's `seq`, and records the event. False: no row."""
    seq = connection.scalar(statement)
    if seq is None:
        return False
    record(connection, [NewEvent.of_status(claim.participant_id, seq, status, **event_data)])
    return True


# -- what a caller does ------------------------------------------------------------------------------------


def cancel(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Cancel those of `ids` that are active. Who is not in the answer was not.

    True of those that a worker runs: it has a step to abort. Nobody can claim the others any more.
    """
    statement = _cancel(connection.dialect.name, anybodys=False)
    return _cancelled(connection, statement, ids, workspace=workspace_id)


def cancel_any_workspace(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """`cancel` of participants of whatever workspace: of who runs the fleet, never of a caller."""
    return _cancelled(connection, _cancel(connection.dialect.name, anybodys=True), ids)


def _cancelled(
    connection: Connection, statement: Executable, ids: Sequence[UUID], **more: UUID
) -> dict[UUID, bool]:
    # In id order, like everything that touches several rows: two cancels then wait, but never deadlock.
    lock_in_id_order(connection, ids)
    rows = connection.execute(statement, {bulk_parameters.IDS_PARAM: ids, **more}).all()
    # Asked here: in RETURNING, SQLite 3.40 takes `worker_id IS NOT NULL` for true of all.
    cancelled = {id_: worker_id is not None for id_, worker_id in rows}
    told = {"status": str(Status.CANCELLED)}
    record_bulk(connection, list(cancelled), "status", told, via_outbox=True)
    return cancelled


@cache
def _cancel(dialect: str, *, any_workspace: bool) -> Executable:
    whose = () if any_workspace else (_p.c.workspace_id == bindparam("workspace"),)
    return (
        transition(TransitionKind.CANCEL)
        .where(bulk_parameters.in_parameter(dialect, _p.c.id), *whose)
        .values(finished_at=store_clock())
        .returning(_p.c.id, _p.c.worker_id)
    )
