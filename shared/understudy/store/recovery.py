"""Recovery of running participants whose worker's lease has expired."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, and_, null, select

from understudy.domain.lifecycle import FailureKind, Status, TransitionKind
from understudy.domain.queues import Queue
from understudy.store.engine import store_clock
from understudy.store.events import NewEvent, record
from understudy.store.guards import lease_is_live, queue_of, transition
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
    lost = select(_p.c.id).where(_p.c.status == str(Status.RUNNING), dead)
    ids = connection.scalars(lost.order_by(_p.c.id).limit(limit).with_for_update(skip_locked=True)).all()
    is_lost = and_(_p.c.id.in_(ids), dead)
    failing = (
        transition(TransitionKind.FAIL)
        .where(is_lost, _p.c.attempt + 1 >= max_attempts)
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
        transition(TransitionKind.RELEASE)
        .where(is_lost)
        .values(
            attempt=_p.c.attempt + 1,
            worker_id=null(),
            dispatched_at=null(),
            queue=queue_of(_p.c.attempt + 1, str(Queue.RECOVERED)),
            pending_since=store_clock(),
        )
        .returning(_p.c.id, _p.c.seq, _p.c.attempt)
    )
    resumed = connection.execute(resuming).all()
    stale = str(FailureKind.STALE_WORKER)
    record(connection, [NewEvent.of_status(r.id, r.seq, Status.FAILED, error_kind=stale) for r in failed])
    record(
        connection,
        [NewEvent.of_status(r.id, r.seq, Status.PENDING, reason="lost", attempt=r.attempt) for r in resumed],
    )
    return Recovered([row.id for row in resumed], [row.id for row in failed])
