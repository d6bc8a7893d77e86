"""Counts the calls of a workspace over all API processes: its rate of requests, and its open waits and streams.

A process takes requests and places in portions, so that most calls need no statement here. Its portions expire
with it: a process that was killed gives its places back after their time to live.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, insert, literal, not_, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from understudy.store.engine import store_clock, store_time
from understudy.store.schema import Tables

_use = Tables.call_use
_place = Tables.call_place

PlaceKind: TypeAlias = Literal["event_streams", "waits"]

#: Unused requests of this many seconds may be made at once.
BURST_S = 60
#: Maximum seconds for which requests or places are granted; later times were stored before the store's clock was set
#: back, and count as past.
_MAX_GRANT_S = 2 * BURST_S


class RequestGrant(NamedTuple):
    #: Requests that the process may answer.
    requests: int
    #: Seconds until the next request is free, if none was granted.
    wait_s: float = 0


def take_requests(connection: Connection, workspace_id: UUID, per_minute: int, portion: int) -> RequestGrant:
    """Takes `portion` requests of the workspace's rate; fewer, down to one, if so many are not free now.

    Concurrent calls never take more than the rate allows.
    """
    now = store_time(connection).timestamp()
    interval_s = 60 / per_minute
    for requests in sorted({portion, 1}, reverse=True):
        if _take(connection, workspace_id, now, requests * interval_s):
            return RequestGrant(requests)
    until = connection.scalar(select(_use.c.requests_until).where(_is_of(_use, workspace_id))) or now
    return RequestGrant(0, max(until + interval_s - BURST_S - now, 0.0))


def _take(connection: Connection, workspace_id: UUID, now: float, duration_s: float) -> bool:
    """Moves the end of the granted requests by `duration_s`, if it stays within the burst."""
    until = _use.c.requests_until
    began = case((and_(until > now, until <= now + _MAX_GRANT_S), until), else_=now)
    new: Any = _insert(connection, _use).values(workspace_id=workspace_id, requests_until=now + duration_s)
    taken = new.on_conflict_do_update(
        index_elements=[_use.c.workspace_id],
        set_={"requests_until": began + duration_s},
        # Rounded: a sum of intervals may miss the burst by a fraction.
        where=began + duration_s <= now + BURST_S + 1e-6,
    )
    return connection.scalar(taken.returning(_use.c.workspace_id)) is not None


def take_places(
    connection: Connection,
    workspace_id: UUID,
    kind: PlaceKind,
    process_id: UUID,
    places: int,
    limit: int,
    ttl_s: float,
) -> bool:
    """Adds `places` to those of this process, unless all processes together would exceed `limit`."""
    # The sum covers rows of other processes: without this lock, two of them could add at once.
    connection.execute(
        _insert(connection, _use).values(workspace_id=workspace_id, requests_until=0).on_conflict_do_nothing()
    )
    connection.execute(select(_use.c.workspace_id).where(_is_of(_use, workspace_id)).with_for_update())
    held = (
        select(func.coalesce(func.sum(_place.c.places), 0))
        .where(
            _is_of(_place, workspace_id),
            _place.c.kind == kind,
            or_(_place.c.process_id == process_id, _place.c.expires_at > store_clock()),
        )
        .scalar_subquery()
    )
    row = {
        _place.c.workspace_id: literal(workspace_id, _place.c.workspace_id.type),
        _place.c.kind: literal(kind),
        _place.c.process_id: literal(process_id, _place.c.process_id.type),
        _place.c.places: literal(places),
        _place.c.expires_at: store_clock(ttl_s),
    }
    source = select(*row.values()).where(held + places <= limit)
    new: Any = _insert(connection, _place).from_select([column.name for column in row], source)
    added = new.on_conflict_do_update(
        index_elements=[_place.c.workspace_id, _place.c.kind, _place.c.process_id],
        set_={"places": _place.c.places + new.excluded.places, "expires_at": new.excluded.expires_at},
    )
    return connection.scalar(added.returning(_place.c.places)) is not None


def set_places(
    connection: Connection, process_id: UUID, held: Mapping[tuple[UUID, PlaceKind], int], ttl_s: float
) -> int:
    """Replaces the places of this process by `held`, and removes those of processes that ended; returns how many
    rows it holds. Repeatable."""
    is_live = _place.c.expires_at.between(store_clock(), store_clock(_MAX_GRANT_S))
    connection.execute(delete(_place).where(or_(_place.c.process_id == process_id, not_(is_live))))
    rows = [
        {"workspace_id": workspace_id, "kind": kind, "process_id": process_id, "places": places}
        for (workspace_id, kind), places in sorted(held.items())
    ]
    if rows:
        connection.execute(insert(_place).values(expires_at=store_clock(ttl_s)), rows)
    return len(rows)


def count_requests(connection: Connection, workspace_id: UUID, per_minute: int) -> int:
    """Returns how many requests of the burst are taken; they free again at the rate of `per_minute`."""
    until = connection.scalar(select(_use.c.requests_until).where(_is_of(_use, workspace_id))) or 0.0
    return math.ceil(max(until - store_time(connection).timestamp(), 0.0) * per_minute / 60)


def count_places(connection: Connection, workspace_id: UUID) -> dict[str, int]:
    """Returns the places that all processes hold for this workspace, by kind."""
    live = (_is_of(_place, workspace_id), _place.c.expires_at > store_clock())
    held = select(_place.c.kind, func.sum(_place.c.places)).where(*live).group_by(_place.c.kind)
    return {kind: int(places) for kind, places in connection.execute(held)}


def _is_of(table: Any, workspace_id: UUID) -> ColumnElement[bool]:
    is_of: ColumnElement[bool] = table.c.workspace_id == workspace_id
    return is_of


def _insert(connection: Connection, table: Any) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)
