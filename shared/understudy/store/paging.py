"""Keyset pagination: a page costs the same at any depth, and concurrent inserts shift no row.

A page is bounded in rows and in bytes. It reads rows in portions, so memory holds no more than one page.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Table, tuple_

from understudy.domain.cursors import decode_cursor, encode_cursor
from understudy.domain.page_size import MAX_VALUES_BYTES, json_bytes
from understudy.store.engine import AnyRow

#: Rows that one read of the store returns.
_PORTION = 20


def stream(connection: Connection, statement: Select[Any]) -> Iterator[AnyRow]:
    """Yields the rows of `statement`; memory holds one portion of them."""
    with connection.execute(statement, execution_options={"yield_per": _PORTION}) as result:
        yield from result


def take(connection: Connection, statement: Select[Any], limit: int) -> tuple[list[AnyRow], bool]:
    """Returns the first rows of `statement`, at most `limit` and MAX_VALUES_BYTES; and whether more follow.

    Returns at least one row, of any size, if there is one.
    """
    taken: list[AnyRow] = []
    size = 0
    for row in stream(connection, statement.limit(limit + 1)):
        size += json_bytes(tuple(row))
        if len(taken) == limit or (taken and size > MAX_VALUES_BYTES):
            return taken, True
        taken.append(row)
    return taken, False


def page(
    connection: Connection,
    statement: Select[Any],
    table: Table,
    cursor: str | None,
    limit: int,
    *,
    list_key: str = "",
    newest_first: bool = False,
) -> tuple[list[AnyRow], str | None]:
    """Returns one page of `statement` in order of creation, and the next cursor; None on the last page.

    A cursor belongs to one direction. `list_key` holds criteria of the list that are not values, such as a comparison
    operator.
    """
    # The statement's values identify the list: the cursor covers every condition.
    params = statement.compile(dialect=connection.dialect).params
    params |= {"of": list_key} if list_key else {}
    params |= {"order": "newest first"} if newest_first else {}
    key = tuple_(table.c.created_at, table.c.id)
    list_parts = (table.name, *(f"{name}={value}" for name, value in sorted(params.items())))
    if cursor is not None:
        created_at, _, id_ = decode_cursor(cursor, *list_parts).partition(" ")
        after = (datetime.fromisoformat(created_at), UUID(id_))
        statement = statement.where(key < tuple_(*after) if newest_first else key > tuple_(*after))
    order = [column.desc() if newest_first else column for column in (table.c.created_at, table.c.id)]
    rows, has_more = take(connection, statement.order_by(*order), limit)
    if not has_more:
        return rows, None
    last = rows[-1]
    return rows, encode_cursor(f"{last.created_at.isoformat()} {last.id}", *list_parts)
