"""Keyset pagination: a page costs the same at any depth, and concurrent inserts shift no row."""

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
    """Returns one page of `statement` in order of creation, and the next cursor; None on the last page.

    `list_key` holds criteria of the list that are not values, such as a comparison operator.
    """
    # The statement's values identify the list: the cursor covers every condition.
    params = statement.compile(dialect=connection.dialect).params
    params |= {"of": list_key} if list_key else {}
    list_parts = (table.name, *(f"{name}={value}" for name, value in sorted(params.items())))
    if cursor is not None:
        created_at, _, id_ = decode_cursor(cursor, *list_parts).partition(" ")
        after = (datetime.fromisoformat(created_at), UUID(id_))
        statement = statement.where(tuple_(table.c.created_at, table.c.id) > tuple_(*after))
    rows = connection.execute(statement.order_by(table.c.created_at, table.c.id).limit(limit + 1)).all()
    if len(rows) <= limit:
        return list(rows), None
    last = rows[limit - 1]
    return list(rows[:limit]), encode_cursor(f"{last.created_at.isoformat()} {last.id}", *list_parts)
