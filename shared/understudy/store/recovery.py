"""Recovery of running participants whose worker is lost, and losses that a worker reports itself."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Update, and_, false, null, select

from understudy.domain.lifecycle import FailureKind, Status, TransitionKind
from understudy.domain.queues import Queue
from understudy.store import leases
from understudy.store.engine import AnyRow, store_clock
from understudy.store.events import NewEvent, record
from understudy.store.guards import Claim, epoch_fence, is_unheld, lease_is_live, queue_of, transition
from understudy.store.schema import Tables

_p = Tables.participant


class Recovered(NamedTuple):
    """Participants that were recovered from lost workers."""

    resumed: list[UUID]
    #: Those that lost their last attempt.
    failed: list[UUID]


def recover_lost(connection: Connection, max_attempts: int, limit: int) -> Recovered:
    """Recovers running participants of expired leases; returns those that changed. Repeatable.

    Each loss without an interaction in between costs an attempt. After the second, the row runs alone in
    quarantine, so it kills no other run's worker. At `max_attempts` it fails with `stale_worker`.
    """
    dead = ~lease_is_live(_p.c.worker_id)
    lost = select(_p.c.id, _p.c.worker_id).where(_p.c.status == str(Status.RUNNING), dead)
    rows = connection.execute(lost.order_by(_p.c.id).limit(limit).with_for_update(skip_locked=True)).all()
    if not rows:
        return Recovered([], [])
    # A renewal may be in flight: either it or this recovery succeeds.
    ended = leases.end_expired(connection, (row.worker_id for row in rows))
    is_lost = and_(_p.c.id.in_([row.id for row in rows]), is_unheld(ended))
    failed = connection.execute(_failing(max_attempts).where(is_lost)).all()
    resumed = connection.execute(_resuming().where(is_lost)).all()
    record(connection, [*map(_failed_event, failed), *map(_resumed_event, resumed)])
    return Recovered([row.id for row in resumed], [row.id for row in failed])


def _failing(max_attempts: int) -> Update:
    """Fails running participants that lose their last attempt."""
    return (
        transition(TransitionKind.FAIL)
        .where(_p.c.attempt + 1 >= max_attempts)
        .values(
            attempt=_p.c.attempt + 1,
            finished_at=store_clock(),
            error_kind=str(FailureKind.STALE_WORKER),
            error_message=f"Its worker was lost {max_attempts} times in a row.",
        )
        .returning(_p.c.id, _p.c.seq)
    )


def _resuming() -> Update:
    """Returns running participants to pending, with one loss more."""
    return (
        transition(TransitionKind.RELEASE)
        .values(
            attempt=_p.c.attempt + 1,
            worker_id=null(),
            yields=false(),
            dispatched_at=null(),
            queue=queue_of(_p.c.attempt + 1, str(Queue.RECOVERED)),
            pending_since=store_clock(),
        )
        .returning(_p.c.id, _p.c.seq, _p.c.attempt)
    )


def _failed_event(row: AnyRow) -> NewEvent:
    return NewEvent.of_status(row.id, row.seq, Status.FAILED, error_kind=str(FailureKind.STALE_WORKER))


def _resumed_event(row: AnyRow) -> NewEvent:
    return NewEvent.of_status(row.id, row.seq, Status.PENDING, reason="lost", attempt=row.attempt)


def lose(connection: Connection, claim: Claim, claimed_ms: int, max_attempts: int) -> Status | None:
    """Counts a loss of a run that would take down its worker, and releases it; at `max_attempts` it fails.

    Returns the new status; None if the claim was lost, or on a repeat.
    """
    is_mine, claimed = epoch_fence(claim), _p.c.claimed_ms + claimed_ms
    row = connection.execute(_failing(max_attempts).where(is_mine).values(claimed_ms=claimed)).one_or_none()
    if row is not None:
        record(connection, [_failed_event(row)])
        return Status.FAILED
    row = connection.execute(_resuming().where(is_mine).values(claimed_ms=claimed)).one_or_none()
    if row is not None:
        record(connection, [_resumed_event(row)])
        return Status.PENDING
    return None
