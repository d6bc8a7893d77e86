"""Records when the run of a cancelled participant has stopped, as a run, stop task or the sweeper reports."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, false, or_, select, true, update

from understudy.domain.lifecycle import Status
from understudy.store import leases
from understudy.store.engine import store_clock
from understudy.store.events import record_bulk
from understudy.store.guards import Claim, epoch_fence, is_unheld, lease_is_live
from understudy.store.schema import Tables

_p = Tables.participant


class Stopped(NamedTuple):
    """A cancelled participant whose run is known to have stopped, and seconds from cancel to stop."""

    participant_id: UUID
    after_s: float


def record_stop(connection: Connection, id_: UUID, *, claim: Claim | None = None) -> list[Stopped]:
    """Records the stop of a cancelled participant; returns it, or nothing on a lost race. Repeatable.

    The stop is known if no live lease holds the participant, or if its run reports it with `claim`.
    """
    if claim is not None:
        return _record_stops(connection, and_(_p.c.id == id_, epoch_fence(claim)))
    return _record_unheld(connection, _p.c.id == id_, 1, skip_locked=False)


def _record_stops(connection: Connection, which: ColumnElement[bool]) -> list[Stopped]:
    statement = (
        update(_p)
        .where(_p.c.status == str(Status.CANCELLED), _p.c.stopped_at.is_(None), which)
        .values(stopped_at=store_clock(), seq=_p.c.seq + 1)
        .returning(_p.c.id, _p.c.finished_at, _p.c.stopped_at)
    )
    rows = connection.execute(statement).all()
    if not rows:
        return []
    record_bulk(connection, [row.id for row in rows], "stopped", {})
    return [Stopped(row.id, (row.stopped_at - row.finished_at).total_seconds()) for row in rows]


def record_stops(connection: Connection, after_s: float, limit: int) -> list[Stopped]:
    """Records the stops of cancelled participants after a lost worker or stop task; returns them. Repeatable.

    A stop is known if no live lease holds the participant, and assumed `after_s` seconds after the cancel.
    """
    overdue = _p.c.finished_at < store_clock(-after_s)
    return _record_unheld(connection, true(), limit, skip_locked=True, or_assumed=overdue)


def _record_unheld(
    connection: Connection,
    which: ColumnElement[bool],
    limit: int,
    *,
    skip_locked: bool,
    or_assumed: ColumnElement[bool] | None = None,
) -> list[Stopped]:
    """Records stops of participants that no live lease holds, or of which `or_assumed` is true."""
    assumed = false() if or_assumed is None else or_assumed
    stopping = select(_p.c.id, _p.c.worker_id).where(
        _p.c.status == str(Status.CANCELLED),
        _p.c.stopped_at.is_(None),
        which,
        or_(~lease_is_live(_p.c.worker_id), assumed),
    )
    rows = connection.execute(stopping.order_by(_p.c.id).limit(limit).with_for_update(skip_locked=skip_locked)).all()
    if not rows:
        return []
    # A renewal may be in flight: a worker that it keeps alive still aborts the step.
    ended = leases.end_expired(connection, (row.worker_id for row in rows if row.worker_id))
    return _record_stops(connection, and_(_p.c.id.in_([row.id for row in rows]), or_(is_unheld(ended), assumed)))
