"""Dispatches: the participants that one call started share their `dispatch_id`."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import Connection, and_, func, select

from understudy.store.engine import AnyRow
from understudy.store.schema import Tables

_p = Tables.participant


def new_dispatch_id() -> UUID:
    """Returns the id of a new dispatch."""
    return uuid4()


def count_by_status(connection: Connection, workspace_id: UUID, dispatch_id: UUID) -> Sequence[AnyRow]:
    """Returns `(status, outcome, number, finished_at)` of its participants; nothing if all were deleted."""
    columns = (_p.c.status, _p.c.outcome, func.count().label("number"), func.max(_p.c.finished_at).label("finished_at"))
    of_dispatch = and_(_p.c.workspace_id == workspace_id, _p.c.dispatch_id == dispatch_id)
    return connection.execute(select(*columns).where(of_dispatch).group_by(_p.c.status, _p.c.outcome)).all()


def first_participants(connection: Connection, workspace_id: UUID, dispatch_id: UUID, limit: int) -> Sequence[AnyRow]:
    """Returns its first participants in the order of the dispatch, with what all of them share."""
    of_dispatch = and_(_p.c.workspace_id == workspace_id, _p.c.dispatch_id == dispatch_id)
    columns = (_p.c.id, _p.c.study_id, _p.c.iteration_id, _p.c.ask_id, _p.c.round, _p.c.extended_from)
    # Ids ascend within a dispatch.
    return connection.execute(select(*columns).where(of_dispatch).order_by(_p.c.id).limit(limit)).all()
