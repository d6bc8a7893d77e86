"""Lists in pages, by key: a page costs the same at any depth, and rows added meanwhile shift nothing."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Table, tuple_

from understudy.domain.cursors import decode_cursor, encode_cursor
from understudy.store.engine import AnyRow


def page(
    connection: Connection,
    statement: Select[Any],
    table: Table,
    cursor: str | None,
    limit: int,
    *,
    list_key: str = "",
) -> tuple[list[AnyRow], str | None]:
    """One page of `statement` in order of creation, and the cursor of the next; None on the last.

    `list_key`: what it is selected by besides values, such as the sign of a comparison.
    """
    # What a list is selected by are the values in its statement: no condition can be forgotten.
    given = statement.compile(dialect=connection.dialect).params
    given |= {"of": list_key} if list_key else {}
    seals = (table.name, *(f"{name}={value}" for name, value in sorted(given.items())))
    if cursor is not None:
        moment, _, id_ = decode_cursor(cursor, *seals).partition(" ")
        after = (datetime.fromisoformat(moment), UUID(id_))
        statement = statement.where(tuple_(table.c.created_at, table.c.id) > tuple_(*after))
    rows = connection.execute(statement.order_by(table.c.created_at, table.c.id).limit(limit + 1)).all()
    if len(rows) <= limit:
        return list(rows), None
    last = rows[limit - 1]
    return list(rows[:limit]), encode_cursor(f"{last.created_at.isoformat()} {last.id}", *seals)
