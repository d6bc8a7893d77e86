"""Groups of unpublished participants, by which a refill of the window reads them."""

import secrets
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Integer, Select, and_, bindparam, literal_column, select, tuple_

from understudy.domain.lifecycle import Status
from understudy.domain.queues import QUEUE_PRIORITY
from understudy.store.engine import AnyRow
from understudy.store.limits import is_unsent
from understudy.store.schema import Tables

_p = Tables.participant

#: Maximum groups that one refill reads. Beyond, each refill begins with another workspace.
MAX_GROUPS = 1_000
#: Not after the id of any workspace.
_FIRST = UUID(int=0)

_RANKS = {str(queue): rank for rank, queue in enumerate(QUEUE_PRIORITY)}


class Group(NamedTuple):
    """The unpublished participants of one iteration or ask, with one queue."""

    workspace_id: UUID
    queue: str
    parent_id: UUID
    #: The first of them.
    head: AnyRow

    @property
    def rank(self) -> int:
        return _RANKS.get(self.queue, 0)


def find_groups(connection: Connection) -> list[Group]:
    """Returns the groups of unpublished participants, each with its first one; reads no other row of a group."""
    groups = _groups_from(connection, _FIRST)
    if len(groups) < MAX_GROUPS:
        return groups
    return _groups_from(connection, UUID(bytes=secrets.token_bytes(16))) or groups


def _groups_from(connection: Connection, start: UUID) -> list[Group]:
    rows = connection.execute(_select_heads(), {"start": start}).all()
    return [Group(row.workspace_id, row.queue, row.parent_id, row) for row in rows]


# A refill takes place after each dispatch, and to build its statements takes ten times as long as to execute them.
@cache
def _select_heads() -> Select[Any]:
    """Selects the first participant of each group, from the workspace `start` on."""
    first, then, row, following = _p.alias("first"), _p.alias("next"), _p.alias("head"), _p.alias("following")

    def place(table: Any) -> tuple[Any, ...]:
        return (table.c.workspace_id, table.c.queue, table.c.parent_id)

    def is_unsent(table: Any) -> ColumnElement[bool]:
        return and_(table.c.status == literal_column(f"'{Status.PENDING}'"), table.c.dispatched_at.is_(None))

    def order(table: Any) -> tuple[Any, ...]:
        return (*place(table), table.c.created_at, table.c.id)

    columns = ("id", "workspace_id", "queue", "parent_id", "created_at", "started_at")
    from_start = first.c.workspace_id >= bindparam("start", type_=_p.c.workspace_id.type)
    first_id = select(first.c.id).where(is_unsent(first), from_start, first.c.parent_id.is_not(None))
    first_id = first_id.order_by(*order(first)).limit(1)
    heads = select(*(row.c[name] for name in columns)).where(row.c.id == first_id.scalar_subquery())
    found = heads.cte("heads", recursive=True)
    next_id = (
        select(then.c.id)
        .where(is_unsent(then), tuple_(*place(then)) > tuple_(*place(found)))
        .order_by(*order(then))
        .limit(1)
        .correlate(found)
        .scalar_subquery()
    )
    found = found.union_all(
        select(*(following.c[name] for name in columns)).join_from(found, following, following.c.id == next_id)
    )
    return select(found).limit(MAX_GROUPS)


def rows_of(connection: Connection, group: Group, limit: int) -> list[AnyRow]:
    of_group = {"workspace": group.workspace_id, "queue": group.queue, "parent": group.parent_id, "limit": limit}
    return list(connection.execute(_select_of_group(), of_group))


@cache
def _select_of_group() -> Select[Any]:
    return (
        select(_p.c.id, _p.c.queue, _p.c.created_at, _p.c.started_at)
        .where(
            is_unsent,
            _p.c.workspace_id == bindparam("workspace"),
            _p.c.queue == bindparam("queue"),
            _p.c.parent_id == bindparam("parent"),
        )
        .order_by(_p.c.created_at, _p.c.id)
        .limit(bindparam("limit", type_=Integer))
    )
