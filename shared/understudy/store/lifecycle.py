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
    and_,
    bindparam,
    case,
    exists,
    null,
    select,
    update,
)

from understudy.domain.lifecycle import TRANSITIONS, FailureKind, Move, Outcome, Status
from understudy.domain.queues import Queue
from understudy.domain.runs import Step
from understudy.domain.simulation import Usage
from understudy.store import bulk_parameters, usage
from understudy.store.engine import AnyRow, store_clock
from understudy.store.events import NewEvent, deliver, record, record_alike
from understudy.store.interactions import is_stored, store_steps
from understudy.store.schema import Tables

_p = Tables.participant
_lease = Tables.lease


class Claim(NamedTuple):
    """The right to write for a participant, until somebody else claims it or it ends."""

    participant_id: UUID
    epoch: int


class Recovered(NamedTuple):
    """Participants that were taken from lost workers."""

    resumed: list[UUID]
    #: It was their last attempt.
    failed: list[UUID]


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


def _move(move: Move) -> Update:
    """The update that makes `move` from wherever it may start, and from nowhere else."""
    sources, target = TRANSITIONS[move]
    return (
        update(_p)
        .where(_p.c.status.in_([str(status) for status in sorted(sources)]))
        .values(status=str(target), seq=_p.c.seq + 1)
    )


def epoch_fence(claim: Claim) -> Any:
    """The fence of everything a run writes. The status is guarded by the move itself."""
    return and_(_p.c.id == claim.participant_id, _p.c.epoch == claim.epoch)


def lives(worker_id: Any) -> Any:
    """Is this worker's lease still good?"""
    return exists(select(1).where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock()))


def _status_event(participant_id: UUID, seq: int, status: Status, **more: Any) -> NewEvent:
    return NewEvent(participant_id, seq, "status", {"status": str(status), **more})


def lock(connection: Connection, ids: Sequence[UUID]) -> None:
    """Lock these in id order, before statements that touch them in any other."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {bulk_parameters.AMONG: ids})


_LOCK = (
    select(_p.c.id)
    .where(bulk_parameters.is_among("postgresql", _p.c.id))
    .order_by(_p.c.id)
    # Keys do not change: who inserts rows that point here need not wait.
    .with_for_update(key_share=True)
)


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
    rows = connection.execute(statement, {bulk_parameters.AMONG: ids, "worker": worker_id}).all()
    # Of who was made with many others, that was perhaps told to the outbox only.
    deliver(connection, [row.id for row in rows])
    record(connection, [_status_event(r.id, r.seq, Status.RUNNING, attempt=r.attempt) for r in rows])
    return {row.id: row for row in rows}


@cache
def _claim(dialect: str) -> Update:
    return (
        _move(Move.CLAIM)
        .where(bulk_parameters.is_among(dialect, _p.c.id), lives(bindparam("worker")))
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
    for ends in (False, True):
        rows = [one.as_row() for one in commits if one.step.ends is ends]
        if rows:
            moved = connection.execute(
                _advance(connection.dialect.name, ends=ends), bulk_parameters.parameter(rows)
            )
            seqs |= {Claim(id_, epoch): seq for id_, epoch, seq in moved}
    landed = [one for one in commits if one.claim in seqs]
    store_steps(connection, [(*one.claim, one.step) for one in landed])
    events: list[NewEvent] = []
    for claim, step, _ in landed:
        id_, seq = claim.participant_id, seqs[claim]
        events.append(NewEvent(id_, seq - step.ends, "interaction", {"index": step.index}))
        if step.ends:
            events.append(_status_event(id_, seq, Status.COMPLETED, outcome=step.outcome))
    record(connection, events)
    return [one.claim in seqs or is_stored(connection, *one.claim, one.step.index) for one in commits]


@cache
def _advance(dialect: str, *, ends: bool) -> Update:
    """Count one more interaction of each given run that still holds its row, and complete those that end."""
    given = bulk_parameters.rows_of(
        dialect, _p.c.id, _p.c.epoch, _p.c.interaction_count, _p.c.claimed_ms, _p.c.outcome
    )
    statement = update(_p).where(_p.c.status == str(Status.RUNNING)).values(seq=_p.c.seq + 1)
    if ends:
        more = {"seq": _p.c.seq + 2, "outcome": given.c.outcome, "finished_at": store_clock()}
        statement = _move(Move.COMPLETE).values(more)
    return (
        statement.where(_p.c.id == given.c.id, _p.c.epoch == given.c.epoch)
        .where(_p.c.interaction_count == given.c.interaction_count)
        .values(
            interaction_count=_p.c.interaction_count + 1,
            attempt=0,
            claimed_ms=_p.c.claimed_ms + given.c.claimed_ms,
        )
        .returning(_p.c.id, _p.c.epoch, _p.c.seq)
    )


def complete(connection: Connection, claim: Claim, outcome: Outcome | None, claimed_ms: int) -> bool:
    """End a run that has nothing left to do. False: the run lost its claim."""
    return _end(
        connection, Move.COMPLETE, claim, claimed_ms, outcome=None if outcome is None else str(outcome)
    )


def fail(
    connection: Connection,
    claim: Claim,
    kind: FailureKind,
    message: str,
    claimed_ms: int,
    used: Usage | None = None,
) -> bool:
    """End a run that cannot go on; `used`: what its last step took all the same. False: it lost its claim."""
    failed = _end(connection, Move.FAIL, claim, claimed_ms, error_kind=str(kind), error_message=message)
    if failed and used is not None:
        usage.store(connection, [(claim.participant_id, None, used)])
    return failed


def _end(connection: Connection, move: Move, claim: Claim, claimed_ms: int, **values: Any) -> bool:
    statement = (
        _move(move)
        .where(epoch_fence(claim))
        .values(finished_at=store_clock(), claimed_ms=_p.c.claimed_ms + claimed_ms, **values)
        .returning(_p.c.seq)
    )
    seq = connection.scalar(statement)
    if seq is None:
        return False
    told = {name: values[name] for name in ("outcome", "error_kind") if name in values}
    record(connection, [_status_event(claim.participant_id, seq, TRANSITIONS[move].target, **told)])
    return True


def release(connection: Connection, claim: Claim, claimed_ms: int) -> bool:
    """Give a running participant back, to go on elsewhere from its last interaction. Costs no attempt."""
    statement = (
        _move(Move.RELEASE)
        .where(epoch_fence(claim))
        .values(claimed_ms=_p.c.claimed_ms + claimed_ms, **_waiting_again())
        .returning(_p.c.seq)
    )
    seq = connection.scalar(statement)
    if seq is None:
        return False
    record(connection, [_status_event(claim.participant_id, seq, Status.PENDING, reason="released")])
    return True


def _waiting_again() -> dict[str, Any]:
    return {
        "worker_id": null(),
        "dispatched_at": null(),
        "queue": str(Queue.RECOVERED),
        "pending_since": store_clock(),
    }


# -- what a caller does ------------------------------------------------------------------------------------


def cancel(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Cancel those of `ids` that are active. Who is not in the answer was not.

    True of those that a worker runs: it has a step to abort. Nobody can claim the others any more.
    """
    statement = _cancel(connection.dialect.name, anybodys=False)
    return _cancelled(connection, statement, ids, workspace=workspace_id)


def cancel_for_operator(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """`cancel` of participants of whatever workspace: of who runs the fleet, never of a caller."""
    return _cancelled(connection, _cancel(connection.dialect.name, anybodys=True), ids)


def _cancelled(
    connection: Connection, statement: Executable, ids: Sequence[UUID], **more: UUID
) -> dict[UUID, bool]:
    # In id order, like everything that touches several rows: two cancels then wait, but never deadlock.
    lock(connection, ids)
    rows = connection.execute(statement, {bulk_parameters.AMONG: ids, **more}).all()
    # Asked here: in RETURNING, SQLite 3.40 takes `worker_id IS NOT NULL` for true of all.
    cancelled = {id_: worker_id is not None for id_, worker_id in rows}
    told = {"status": str(Status.CANCELLED)}
    record_alike(connection, list(cancelled), "status", told, by_outbox=True)
    return cancelled


@cache
def _cancel(dialect: str, *, anybodys: bool) -> Executable:
    whose = () if anybodys else (_p.c.workspace_id == bindparam("workspace"),)
    return (
        _move(Move.CANCEL)
        .where(bulk_parameters.is_among(dialect, _p.c.id), *whose)
        .values(finished_at=store_clock())
        .returning(_p.c.id, _p.c.worker_id)
    )


# -- what the sweeper does ---------------------------------------------------------------------------------


def recover_lost(connection: Connection, max_attempts: int, limit: int) -> Recovered:
    """Take running participants from workers whose lease ran out; returns those that moved.

    Each loss without an interaction in between counts. At the second the row is a suspect and runs alone, so
    that what kills its worker kills nobody else's; at `max_attempts` it fails with `stale_worker`.
    """
    dead = ~lives(_p.c.worker_id)
    lost = select(_p.c.id).where(_p.c.status == str(Status.RUNNING), dead)
    ids = connection.scalars(lost.order_by(_p.c.id).limit(limit).with_for_update(skip_locked=True)).all()
    here = and_(_p.c.id.in_(ids), dead)
    failing = (
        _move(Move.FAIL)
        .where(here, _p.c.attempt + 1 >= max_attempts)
        .values(
            attempt=_p.c.attempt + 1,
            finished_at=store_clock(),
            error_kind=str(FailureKind.STALE_WORKER),
            error_message=f"Its worker was lost {max_attempts} times in a row.",
        )
        .returning(_p.c.id, _p.c.seq)
    )
    failed = connection.execute(failing).all()
    resuming = (
        _move(Move.RELEASE)
        .where(here)
        .values(
            _waiting_again()
            | {
                "attempt": _p.c.attempt + 1,
                "queue": case((_p.c.attempt >= 1, str(Queue.ALONE)), else_=str(Queue.RECOVERED)),
            }
        )
        .returning(_p.c.id, _p.c.seq, _p.c.attempt)
    )
    resumed = connection.execute(resuming).all()
    stale = str(FailureKind.STALE_WORKER)
    record(connection, [_status_event(r.id, r.seq, Status.FAILED, error_kind=stale) for r in failed])
    record(
        connection,
        [_status_event(r.id, r.seq, Status.PENDING, reason="lost", attempt=r.attempt) for r in resumed],
    )
    return Recovered([row.id for row in resumed], [row.id for row in failed])
