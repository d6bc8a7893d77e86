"""Every move of a participant, each one guarded statement: whoever comes second changes nothing.

The status guard comes from `TRANSITIONS`; what a run writes is guarded by its epoch too. All functions return
what moved; an empty answer means the race was lost, and nothing was written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    and_,
    case,
    exists,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from shared.domain.lifecycle import TRANSITIONS, FailureKind, Move, Outcome, Status
from shared.queue.names import Queue
from shared.store.engine import AnyRow, chunks, store_clock
from shared.store.events import NewEvent, record
from shared.store.schema import Tables

_p = Tables.participant
_lease = Tables.lease


class Claim(NamedTuple):
    """The right to write for a participant, until somebody else claims it or it ends."""

    participant_id: UUID
    epoch: int


class Stopped(NamedTuple):
    """A cancelled participant whose run is now known to have stopped, and how long after its cancel."""

    participant_id: UUID
    after_s: float


class Recovered(NamedTuple):
    """Participants that were taken from lost workers."""

    resumed: list[UUID]
    #: It was their last attempt.
    failed: list[UUID]


@dataclass(frozen=True, slots=True)
class Step:
    """One interaction, ready to be committed, with the state to go on from."""

    index: int
    observation: Mapping[str, Any]
    thought: str
    action: Mapping[str, Any]
    sentiment: float
    result: Mapping[str, Any]
    started_at: datetime
    duration_ms: int
    state: Mapping[str, Any]
    #: Set on the last one: the participant completes together with it.
    ends: bool = False
    outcome: Outcome | None = None


def _move(move: Move) -> Update:
    """The update that makes `move` from wherever it may start, and from nowhere else."""
    sources, target = TRANSITIONS[move]
    return (
        update(_p)
        .where(_p.c.status.in_([str(status) for status in sorted(sources)]))
        .values(status=str(target), seq=_p.c.seq + 1)
    )


def _held_by(claim: Claim) -> Any:
    """The fence of everything a run writes. The status is guarded by the move itself."""
    return and_(_p.c.id == claim.participant_id, _p.c.epoch == claim.epoch)


def _lives(worker_id: Any) -> Any:
    return exists(select(1).where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock()))


def _status_event(participant_id: UUID, seq: int, status: Status, **more: Any) -> NewEvent:
    return NewEvent(participant_id, seq, "status", {"status": str(status), **more})


# -- what a worker does ------------------------------------------------------------------------------------


def claim(connection: Connection, participant_id: UUID, worker_id: UUID) -> AnyRow | None:
    """Take a pending participant: its row as it is now, or None when it is not to be had.

    None answers a duplicate, stale or void message: somebody else has it, it was cancelled, or this worker's
    lease has run out.
    """
    statement = (
        _move(Move.CLAIM)
        .where(_p.c.id == participant_id, _lives(worker_id))
        .values(
            epoch=_p.c.epoch + 1,
            worker_id=worker_id,
            started_at=case((_p.c.started_at.is_(None), store_clock()), else_=_p.c.started_at),
        )
        .returning(_p)
    )
    row = connection.execute(statement).one_or_none()
    if row is not None:
        record(connection, [_status_event(row.id, row.seq, Status.RUNNING, attempt=row.attempt)])
    return row


def commit_step(connection: Connection, claim: Claim, step: Step, claimed_ms: int) -> bool:
    """Store an interaction, its checkpoint and its event; with `step.ends`, complete the participant too.

    `claimed_ms`: how long this run has held the row since its last write. False: the run lost its claim.
    May be repeated when nobody knows whether it was committed: it then tells so, and writes nothing.
    """
    statement = update(_p).where(_held_by(claim), _p.c.status == str(Status.RUNNING)).values(seq=_p.c.seq + 1)
    if step.ends:
        statement = (
            _move(Move.COMPLETE)
            .where(_held_by(claim))
            .values(
                seq=_p.c.seq + 2,
                outcome=None if step.outcome is None else str(step.outcome),
                finished_at=store_clock(),
            )
        )
    statement = statement.where(_p.c.interaction_count == step.index).values(
        interaction_count=step.index + 1, attempt=0, claimed_ms=_p.c.claimed_ms + claimed_ms
    )
    seq = connection.scalar(statement.returning(_p.c.seq))
    if seq is None:
        return _was_committed(connection, claim, step.index)
    connection.execute(
        insert(Tables.interaction).values(
            participant_id=claim.participant_id,
            ordinal=step.index,
            epoch=claim.epoch,
            observation=step.observation,
            thought=step.thought,
            action=step.action,
            sentiment=step.sentiment,
            result=step.result,
            started_at=step.started_at,
            duration_ms=step.duration_ms,
        )
    )
    _save_checkpoint(connection, claim.participant_id, step.state)
    events = [NewEvent(claim.participant_id, seq, "interaction", {"index": step.index})]
    if step.ends:
        events = [
            events[0]._replace(seq=seq - 1),
            _status_event(claim.participant_id, seq, Status.COMPLETED, outcome=step.outcome),
        ]
    record(connection, events)
    return True


def _was_committed(connection: Connection, claim: Claim, index: int) -> bool:
    """Is this very step there already? Nobody else writes under this claim's epoch."""
    interaction = Tables.interaction
    mine = select(interaction.c.ordinal).where(
        interaction.c.participant_id == claim.participant_id,
        interaction.c.ordinal == index,
        interaction.c.epoch == claim.epoch,
    )
    return connection.scalar(mine) is not None


def _save_checkpoint(connection: Connection, participant_id: UUID, state: Mapping[str, Any]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(Tables.checkpoint).values(participant_id=participant_id, state=state)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["participant_id"], set_={"state": statement.excluded.state}
        )
    )


def complete(connection: Connection, claim: Claim, outcome: Outcome | None, claimed_ms: int) -> bool:
    """End a run that has nothing left to do. False: the run lost its claim."""
    return _end(
        connection, Move.COMPLETE, claim, claimed_ms, outcome=None if outcome is None else str(outcome)
    )


def fail(connection: Connection, claim: Claim, kind: FailureKind, message: str, claimed_ms: int) -> bool:
    """End a run that cannot go on. False: the run lost its claim."""
    return _end(connection, Move.FAIL, claim, claimed_ms, error_kind=str(kind), error_message=message)


def _end(connection: Connection, move: Move, claim: Claim, claimed_ms: int, **values: Any) -> bool:
    statement = (
        _move(move)
        .where(_held_by(claim))
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
        .where(_held_by(claim))
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


def cancel(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> list[UUID]:
    """Cancel those of `ids` that are active; returns them. Who is not in the answer was not active."""
    moved: list[UUID] = []
    for chunk in chunks(sorted(ids)):
        here = and_(_p.c.id.in_(chunk), _p.c.workspace_id == workspace_id)
        # In id order, like everything that touches several rows: two cancels then wait, but never deadlock.
        connection.execute(select(_p.c.id).where(here).order_by(_p.c.id).with_for_update())
        statement = _move(Move.CANCEL).where(here).values(finished_at=store_clock())
        rows = connection.execute(statement.returning(_p.c.id, _p.c.seq)).all()
        record(connection, [_status_event(row.id, row.seq, Status.CANCELLED) for row in rows])
        moved += [row.id for row in rows]
    return moved


def cancel_held(connection: Connection, claim: Claim) -> bool:
    """Cancel a participant from where it runs. False: it does not run under this claim."""
    return _end(connection, Move.CANCEL, claim, 0)


def mark_stopped(connection: Connection, id_: UUID, *, held: Claim | None = None) -> list[Stopped]:
    """Record that the run of a cancelled participant has stopped, once; returns it if it is now recorded.

    It is known of one that no living worker holds; with `held`, a run tells it of itself.
    """
    known = ~_lives(_p.c.worker_id) if held is None else _held_by(held)
    return _record_stops(connection, and_(_p.c.id == id_, known))


def _record_stops(connection: Connection, which: ColumnElement[bool]) -> list[Stopped]:
    statement = (
        update(_p)
        .where(_p.c.status == str(Status.CANCELLED), _p.c.stopped_at.is_(None), which)
        .values(stopped_at=store_clock(), seq=_p.c.seq + 1)
        .returning(_p.c.id, _p.c.seq, _p.c.finished_at, _p.c.stopped_at)
    )
    rows = connection.execute(statement).all()
    record(connection, [NewEvent(row.id, row.seq, "stopped", {}) for row in rows])
    return [Stopped(row.id, (row.stopped_at - row.finished_at).total_seconds()) for row in rows]


# -- what the sweeper does ---------------------------------------------------------------------------------


def record_stops(connection: Connection, after_s: float, limit: int) -> list[Stopped]:
    """Record the stop of cancelled participants whose worker or stop task was lost; returns them.

    It is known of those that no living worker holds, and assumed of all others `after_s` after the cancel.
    """
    known = or_(~_lives(_p.c.worker_id), _p.c.finished_at < store_clock(-after_s))
    stopping = select(_p.c.id).where(_p.c.status == str(Status.CANCELLED), _p.c.stopped_at.is_(None), known)
    ids = connection.scalars(stopping.order_by(_p.c.id).limit(limit).with_for_update(skip_locked=True)).all()
    return _record_stops(connection, and_(_p.c.id.in_(ids), known))


def recover_lost(connection: Connection, max_attempts: int, limit: int) -> Recovered:
    """Take running participants from workers whose lease ran out; returns those that moved.

    Each loss without an interaction in between counts. At the second the row is a suspect and runs alone, so
    that what kills its worker kills nobody else's; at `max_attempts` it fails with `stale_worker`.
    """
    dead = ~_lives(_p.c.worker_id)
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
