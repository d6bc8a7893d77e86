"""Transitions of a participant. Each is one guarded statement: a lost race changes nothing.

The status guard comes from `TRANSITIONS`; the epoch also guards what a run writes. All functions return what
changed. An empty result means that the race was lost and nothing was written.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Executable, Update, bindparam, case, false, null, type_coerce, update
from sqlalchemy.types import NullType

from understudy.domain.lifecycle import FailureKind, Outcome, Status, TransitionKind
from understudy.domain.queues import QUARANTINE_ATTEMPT, Queue
from understudy.domain.runs import Step
from understudy.domain.simulation import Usage
from understudy.store import bulk_parameters, usage
from understudy.store.engine import AnyRow, store_clock
from understudy.store.events import NewEvent, flush_outbox, record, record_bulk
from understudy.store.guards import (
    Claim,
    epoch_fence,
    is_published,
    lease_is_live,
    lock_in_id_order,
    queue_of,
    transition,
)
from understudy.store.interactions import is_stored, store_steps
from understudy.store.schema import Tables

_p = Tables.participant
_lease = Tables.lease


class CommitResult(Enum):
    """The result of storing a step; true if it is stored."""

    LOST = "lost"
    STORED = "stored"
    #: Stored, and the run must give up its slot now.
    STORED_LAST = "stored, then yields"

    def __bool__(self) -> bool:
        return self is not CommitResult.LOST


class Commit(NamedTuple):
    """A finished step that a run asks to store."""

    claim: Claim
    step: Step
    #: Milliseconds for which the run has held its row since its last write.
    claimed_ms: int

    def as_row(self) -> dict[str, Any]:
        """Returns the values of its guard, and of the update of its participant's row."""
        outcome = self.step.outcome
        return {
            "id": self.claim.participant_id.hex,
            "epoch": self.claim.epoch,
            "interaction_count": self.step.index,
            "claimed_ms": self.claimed_ms,
            "outcome": None if outcome is None else str(outcome),
        }


# -- writes of workers -------------------------------------------------------------------------------------


def claim(connection: Connection, participant_id: UUID, worker_id: UUID, *, quarantine: bool = False) -> AnyRow | None:
    """Claims one participant like `claim_all`; returns None if the race was lost."""
    return claim_all(connection, [participant_id], worker_id, quarantine=quarantine).get(participant_id)


def claim_all(
    connection: Connection,
    ids: Sequence[UUID],
    worker_id: UUID,
    *,
    quarantine: bool = False,
    has_number: bool = False,
) -> dict[UUID, AnyRow]:
    """Claims the pending participants among `ids` for a live lease; returns what their runs need of their rows.

    A missing id had a duplicate or stale message: it was claimed or cancelled before, waits for a new message, or
    the lease has expired. Without `quarantine`, a participant that lost two workers is missing too: its stale
    message is in another queue. With `has_number`, so is one that never had a message. A repeat is safe, but does not
    return participants claimed before.
    """
    statement = _claim(connection.dialect.name, quarantine=quarantine, has_number=has_number)
    rows = connection.execute(statement, {bulk_parameters.IDS_PARAM: ids, "worker": worker_id}).all()
    # The outbox may hold the first event of a participant that was created in bulk.
    flush_outbox(connection, [row.id for row in rows])
    record(connection, [NewEvent.of_status(r.id, r.seq, Status.RUNNING, attempt=r.attempt) for r in rows])
    return {row.id: row for row in rows}


#: The columns that a run needs: each id and time of the others would take longer than its text.
_CLAIMED = tuple(
    _p.c[name]
    for name in (
        *("id", "workspace_id", "study_id", "ask_id", "epoch", "seq", "attempt", "dispatch_no", "claimed_ms"),
        *("seed", "max_interactions", "interaction_count", "extended_from", "branched_at", "instruction"),
    )
)


@cache
def _claim(dialect: str, *, quarantine: bool, has_number: bool) -> Update:
    admitted = () if quarantine else (_p.c.attempt < QUARANTINE_ATTEMPT,)
    return (
        transition(TransitionKind.CLAIM)
        .where(bulk_parameters.in_parameter(dialect, _p.c.id), is_published(has_number=has_number))
        .where(lease_is_live(bindparam("worker")), *admitted)
        .values(
            epoch=_p.c.epoch + 1,
            yields=false(),
            worker_id=bindparam("worker", type_=_p.c.worker_id.type),
            started_at=case((_p.c.started_at.is_(None), store_clock()), else_=_p.c.started_at),
        )
        .returning(*_CLAIMED)
    )


def commit_step(connection: Connection, claim: Claim, step: Step, claimed_ms: int) -> bool:
    """Commits one step like `commit_steps`; returns False if the claim was lost."""
    return bool(commit_steps(connection, [Commit(claim, step, claimed_ms)])[0])


def commit_steps(connection: Connection, commits: Sequence[Commit]) -> list[CommitResult]:
    """Stores interactions, their checkpoints and events; where `step.ends`, completes the participant too.

    Returns one result per commit. LOST: that run lost its claim, and nothing of the step was written. May be
    repeated after a commit in doubt: a stored step returns STORED and is not written again.
    """
    seqs: dict[Claim, int] = {}
    yielding: set[Claim] = set()
    for ends, statement in ((False, _commit_statement), (True, _advance_and_complete)):
        rows = [commit.as_row() for commit in commits if commit.step.ends is ends]
        if rows:
            moved = connection.execute(statement(connection.dialect.name), bulk_parameters.parameter(rows))
            for id_, epoch, seq, yields in moved:
                seqs[Claim(id_, epoch)] = seq
                if yields and not ends:
                    yielding.add(Claim(id_, epoch))
    landed = [commit for commit in commits if commit.claim in seqs]
    store_steps(connection, [(*commit.claim, commit.step) for commit in landed])
    events: list[NewEvent] = []
    for claim, step, _ in landed:
        id_, seq = claim.participant_id, seqs[claim]
        events.append(NewEvent(id_, seq - step.ends, "interaction", {"index": step.index}))
        if step.ends:
            events.append(NewEvent.of_status(id_, seq, Status.COMPLETED, outcome=step.outcome))
    record(connection, events)
    return [_commit_result(connection, claim, step, seqs, yielding) for claim, step, _ in commits]


def _commit_result(
    connection: Connection, claim: Claim, step: Step, seqs: Mapping[Claim, int], yielding: Collection[Claim]
) -> CommitResult:
    if claim in yielding:
        return CommitResult.STORED_LAST
    if claim in seqs or is_stored(connection, *claim, step.index):
        return CommitResult.STORED
    return CommitResult.LOST


@cache
def _commit_statement(dialect: str) -> Update:
    """Adds one interaction to each of `rows` whose run still holds its row."""
    rows = bulk_parameters.rows_parameter(
        dialect, _p.c.id, _p.c.epoch, _p.c.interaction_count, _p.c.claimed_ms, _p.c.outcome
    )
    return (
        update(_p)
        .where(
            _p.c.id == rows.c.id,
            _p.c.epoch == rows.c.epoch,
            _p.c.status == str(Status.RUNNING),
            _p.c.interaction_count == rows.c.interaction_count,
        )
        .values(
            seq=_p.c.seq + 1,
            interaction_count=_p.c.interaction_count + 1,
            attempt=0,
            claimed_ms=_p.c.claimed_ms + rows.c.claimed_ms,
        )
        .returning(_p.c.id, _p.c.epoch, _p.c.seq, _p.c.yields)
    )


@cache
def _advance_and_complete(dialect: str) -> Update:
    """Adds the last interaction to each of `rows` whose run still holds its row, and completes it."""
    rows = bulk_parameters.rows_parameter(
        dialect, _p.c.id, _p.c.epoch, _p.c.interaction_count, _p.c.claimed_ms, _p.c.outcome
    )
    return (
        transition(TransitionKind.COMPLETE)
        .where(
            _p.c.id == rows.c.id,
            _p.c.epoch == rows.c.epoch,
            _p.c.interaction_count == rows.c.interaction_count,
        )
        .values(
            # One for the interaction, one for the status.
            seq=_p.c.seq + 2,
            interaction_count=_p.c.interaction_count + 1,
            attempt=0,
            claimed_ms=_p.c.claimed_ms + rows.c.claimed_ms,
            outcome=rows.c.outcome,
            finished_at=store_clock(),
        )
        .returning(_p.c.id, _p.c.epoch, _p.c.seq, _p.c.yields)
    )


def complete(connection: Connection, claim: Claim, outcome: Outcome | None, claimed_ms: int) -> bool:
    """Completes a run without further steps. Returns False if the claim was lost, or on a repeat."""
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
    """Fails a run that cannot continue, and stores `used`, the usage of its last step.

    Returns False, and stores nothing, if the claim was lost, or on a repeat.
    """
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
    """Releases a running participant to pending; another worker resumes from its last interaction.

    Costs no attempt; a suspect stays in quarantine. A run that was asked to give up its slot waits behind those for
    which it did. Returns False if the claim was lost, or on a repeat.
    """
    statement = (
        transition(TransitionKind.RELEASE)
        .where(epoch_fence(claim))
        .values(
            claimed_ms=_p.c.claimed_ms + claimed_ms,
            worker_id=null(),
            dispatched_at=null(),
            # A run that gave up its slot must not take it right back from whom it was for.
            queue=queue_of(_p.c.attempt, case((_p.c.yields, str(Queue.RESUME)), else_=str(Queue.RECOVERED))),
            yields=false(),
            pending_since=store_clock(),
        )
        .returning(_p.c.seq)
    )
    return _write_run(connection, claim, statement, Status.PENDING, reason="released")


def _write_run(connection: Connection, claim: Claim, statement: Update, status: Status, **event_data: Any) -> bool:
    """Executes a guarded write that returns `seq`, and records its event. Returns False if no row changed."""
    seq = connection.scalar(statement)
    if seq is None:
        return False
    record(connection, [NewEvent.of_status(claim.participant_id, seq, status, **event_data)])
    return True


# -- cancel ------------------------------------------------------------------------------------------------


def cancel(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Cancels the active participants among `ids`; returns only those. May be repeated.

    True: a worker runs the participant and must abort its step. False: no worker can claim it any more.
    """
    statement = _cancel(connection.dialect.name, any_workspace=False)
    return _cancelled(connection, statement, ids, workspace=workspace_id)


def cancel_any_workspace(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Cancels like `cancel`, in all workspaces; for operator commands, never for a caller."""
    return _cancelled(connection, _cancel(connection.dialect.name, any_workspace=True), ids)


def _cancelled(connection: Connection, statement: Executable, ids: Sequence[UUID], **values: UUID) -> dict[UUID, bool]:
    # In id order, like each write of several rows: concurrent cancels wait, but never deadlock.
    lock_in_id_order(connection, ids)
    # To convert thousands of ids for each statement and row would take a third of the time.
    by_stored = dict(zip(bulk_parameters.stored_ids(connection.dialect.name, ids), ids, strict=True))
    rows = connection.execute(statement, {bulk_parameters.IDS_PARAM: list(by_stored), **values}).all()
    data = {"status": str(Status.CANCELLED)}
    record_bulk(connection, [stored for stored, _ in rows], "status", data, via_outbox=True)
    # Computed here: in RETURNING, SQLite 3.40 evaluates `worker_id IS NOT NULL` to true for all rows.
    return {by_stored[stored]: worker_id is not None for stored, worker_id in rows}


@cache
def _cancel(dialect: str, *, any_workspace: bool) -> Executable:
    workspace_filter = () if any_workspace else (_p.c.workspace_id == bindparam("workspace"),)
    return (
        transition(TransitionKind.CANCEL)
        .where(bulk_parameters.in_parameter(dialect, _p.c.id), *workspace_filter)
        .values(finished_at=store_clock())
        .returning(type_coerce(_p.c.id, NullType()), _p.c.worker_id)
    )
