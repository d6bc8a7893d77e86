"""Reads the participants of one dispatch, which share their `dispatch_id`."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, and_, func, select

from understudy.store.engine import AnyRow
from understudy.store.schema import Tables

_p = Tables.participant


def count_by_status(connection: Connection, workspace_id: UUID, dispatch_id: UUID) -> Sequence[AnyRow]:
    """Returns `(status, outcome, number, finished_at)` of its participants; nothing if all were deleted."""
    columns = (_p.c.status, _p.c.outcome, func.count().label("number"), func.max(_p.c.finished_at).label("finished_at"))
    of_dispatch = and_(_p.c.workspace_id == workspace_id, _p.c.dispatch_id == dispatch_id)
    return connection.execute(select(*columns).where(of_dispatch).group_by(_p.c.status, _p.c.outcome)).all()


def any_participant(connection: Connection, workspace_id: UUID, dispatch_id: UUID) -> AnyRow:
    """Returns one of its participants: all have the same study, iteration, ask, round and source."""
    of_dispatch = and_(_p.c.workspace_id == workspace_id, _p.c.dispatch_id == dispatch_id)
    return connection.execute(select(_p).where(of_dispatch).limit(1)).one()
