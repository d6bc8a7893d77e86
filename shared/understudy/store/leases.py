"""Leases of worker processes. An expired lease is never renewed; its process creates a new one."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, and_, delete, exists, func, insert, select, update

from understudy.domain.fair_shares import UNKNOWN_SLOTS
from understudy.domain.leases import MAX_LEASE_TTL_S
from understudy.domain.lifecycle import Status
from understudy.domain.queues import WorkerKind, count_simulating
from understudy.store.engine import AnyRow, store_clock
from understudy.store.schema import Tables

_lease = Tables.lease
_p = Tables.participant


def create_lease(
    connection: Connection,
    worker_id: UUID,
    name: str,
    ttl_s: float,
    kind: WorkerKind = WorkerKind.RUN,
    slots: int | None = None,
) -> None:
    """Inserts a lease of `ttl_s` seconds by the store's clock. Raises IntegrityError on a repeat."""
    fields = {"id": worker_id, "name": name, "kind": str(kind), "slots": slots}
    connection.execute(insert(_lease).values(**fields, expires_at=store_clock(ttl_s)))


def renew_lease(connection: Connection, worker_id: UUID, ttl_s: float) -> bool:
    """Extends the lease to `ttl_s` seconds from now; repeatable. Returns False if it has expired: other
    workers may then own its runs."""
    statement = (
        update(_lease)
        .where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock())
        .values(expires_at=store_clock(ttl_s))
        .returning(_lease.c.id)
    )
    return connection.scalar(statement) is not None


def is_live(connection: Connection, worker_id: UUID) -> bool:
    """Returns whether this lease has not expired."""
    live = select(_lease.c.id).where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock())
    return connection.scalar(live) is not None


def expire_lease(connection: Connection, worker_id: UUID) -> None:
    """Expires the lease now, so that its runs are recovered immediately. Repeatable; no effect if expired."""
    connection.execute(
        update(_lease)
        .where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock())
        .values(expires_at=store_clock())
    )


def end_expired(connection: Connection, ids: Iterable[UUID]) -> list[UUID]:
    """Ends the expired leases among `ids` for good and returns them; skips a lease that is being renewed.

    A renewal locks its lease before it checks it again. If it began before the expiry and waits for this
    transaction, it finds the lease changed and fails: without the change, PostgreSQL would not check again.
    """
    is_expired = and_(_lease.c.id.in_(sorted(set(ids))), _lease.c.expires_at <= store_clock())
    lock = select(_lease.c.id).where(is_expired).order_by(_lease.c.id).with_for_update(skip_locked=True)
    locked = connection.scalars(lock).all()
    if not locked:
        return []
    end = update(_lease).where(_lease.c.id.in_(locked), _lease.c.expires_at <= store_clock())
    return list(connection.scalars(end.values(expires_at=_lease.c.expires_at).returning(_lease.c.id)))


def shorten_leases(connection: Connection, ttl_s: float) -> int:
    """Shortens leases that end later than any setting allows to `ttl_s` seconds from now; returns how many.

    Only a clock that was set back leaves such leases. Their living workers renew them in time; those of dead
    workers expire soon instead of when the clock has caught up. Repeatable.
    """
    implausible = update(_lease).where(_lease.c.expires_at > store_clock(MAX_LEASE_TTL_S))
    return connection.execute(implausible.values(expires_at=store_clock(ttl_s))).rowcount


def expire_all(connection: Connection) -> int:
    """Expires all leases, for a store whose workers are known to be dead; returns how many were live."""
    live = update(_lease).where(_lease.c.expires_at > store_clock())
    return connection.execute(live.values(expires_at=store_clock())).rowcount


def running_claims(connection: Connection, worker_id: UUID) -> Sequence[AnyRow]:
    """Returns `(id, epoch)` of the participants that run on this lease in the store, in id order."""
    running = select(_p.c.id, _p.c.epoch).where(_p.c.worker_id == worker_id, _p.c.status == str(Status.RUNNING))
    return connection.execute(running.order_by(_p.c.id)).all()


def live_by_kind(connection: Connection) -> dict[WorkerKind, int]:
    """Returns the number of worker processes with a live lease, for each kind; unknown kinds count as run workers."""
    kind = _lease.c.kind
    live = select(kind, func.count()).where(_lease.c.expires_at > store_clock()).group_by(kind)
    counts = dict.fromkeys(WorkerKind, 0)
    for name, count in connection.execute(live):
        counts[WorkerKind(name) if name in set(WorkerKind) else WorkerKind.RUN] += count
    return counts


def run_slots(connection: Connection) -> int:
    """Returns the slots of live run workers; UNKNOWN_SLOTS if there are none."""
    return connection.scalar(_select_run_slots()) or UNKNOWN_SLOTS


@cache
def _select_run_slots() -> Select[Any]:
    kind = func.coalesce(_lease.c.kind, str(WorkerKind.RUN))
    slots = func.sum(func.coalesce(_lease.c.slots, UNKNOWN_SLOTS))
    return select(slots).where(_lease.c.expires_at > store_clock(), kind == str(WorkerKind.RUN))


def count_live(connection: Connection) -> int:
    """Returns the number of worker processes with a live lease that run simulations."""
    return count_simulating(live_by_kind(connection))


def delete_expired(connection: Connection, dead_for_s: float) -> int:
    """Deletes leases that expired `dead_for_s` ago and hold no run; returns how many. Repeatable."""
    has_runs = exists(select(1).where(_p.c.worker_id == _lease.c.id, _p.c.status == str(Status.RUNNING)))
    statement = delete(_lease).where(_lease.c.expires_at < store_clock(-dead_for_s), ~has_runs)
    return connection.execute(statement).rowcount
