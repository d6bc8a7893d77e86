"""Leases: which worker processes live. A lease that ran out never comes back; its process takes a new one."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from understudy.domain.lifecycle import Status
from understudy.store.engine import AnyRow, store_clock
from understudy.store.schema import Tables

_lease = Tables.lease
_p = Tables.participant


def create_lease(connection: Connection, worker_id: UUID, name: str, ttl_s: float) -> None:
    """Begin to live, for `ttl_s` from now by the store's clock."""
    connection.execute(insert(_lease).values(id=worker_id, name=name, expires_at=store_clock(ttl_s)))


def renew_lease(connection: Connection, worker_id: UUID, ttl_s: float) -> bool:
    """Live on for `ttl_s` from now. False: it ran out already, and what it held may be another's."""
    statement = (
        update(_lease)
        .where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock())
        .values(expires_at=store_clock(ttl_s))
        .returning(_lease.c.id)
    )
    return connection.scalar(statement) is not None


def is_live(connection: Connection, worker_id: UUID) -> bool:
    """Has this lease not run out yet?"""
    live = select(_lease.c.id).where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock())
    return connection.scalar(live) is not None


def expire_lease(connection: Connection, worker_id: UUID) -> None:
    """Die in order: whatever is still held is anybody's at once."""
    connection.execute(
        update(_lease)
        .where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock())
        .values(expires_at=store_clock())
    )


def running_claims(connection: Connection, worker_id: UUID) -> Sequence[AnyRow]:
    """`(id, epoch)` of the participants that run on this lease, as the store sees it, in id order."""
    running = select(_p.c.id, _p.c.epoch).where(
        _p.c.worker_id == worker_id, _p.c.status == str(Status.RUNNING)
    )
    return connection.execute(running.order_by(_p.c.id)).all()


def count_live(connection: Connection) -> int:
    """How many worker processes live now."""
    return (
        connection.scalar(select(func.count()).select_from(_lease).where(_lease.c.expires_at > store_clock()))
        or 0
    )


def delete_expired(connection: Connection, dead_for_s: float) -> int:
    """Remove leases that ran out that long ago and hold nothing; how many."""
    holds = exists(select(1).where(_p.c.worker_id == _lease.c.id, _p.c.status == str(Status.RUNNING)))
    statement = delete(_lease).where(_lease.c.expires_at < store_clock(-dead_for_s), ~holds)
    return connection.execute(statement).rowcount
