"""Passes many rows to a statement as one parameter.

psycopg sends a list of parameters row by row, at nearly twice the cost. PostgreSQL sees neither an idle nor a
late client if it freezes or disconnects between two rows. The client then keeps its locks.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    ColumnElement,
    Dialect,
    FromClause,
    TypeDecorator,
    any_,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.types import TypeEngine

#: Parameter of `rows_parameter`; its value is a list of objects, sent as JSON.
ROWS_PARAM = "batch"
#: Parameter of `in_parameter`; its value is a list.
IDS_PARAM = "among"


def rows_parameter(dialect: str, *columns: Column[Any]) -> FromClause:
    """Returns the rows passed as `ROWS_PARAM`, with the names and types of `columns`.

    Pass ids as hex digits without hyphens: SQLite stores them so, and PostgreSQL reads them. Pass times as
    `format_time` writes them, and JSON as objects.
    """
    values = bindparam(ROWS_PARAM, type_=JSON)
    if dialect == "postgresql":
        rows = func.json_to_recordset(values).table_valued(*(column(col.name, col.type) for col in columns))
        return rows.render_derived(name="given", with_types=True)
    items = func.json_each(values).table_valued("value")
    parts = (func.json_extract(items.c.value, f"$.{col.name}", type_=col.type) for col in columns)
    return select(*(part.label(col.name) for part, col in zip(parts, columns, strict=True))).subquery("given")


def parameter(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the parameter of such a statement."""
    return {ROWS_PARAM: rows}


def format_time(dialect: str, at: datetime) -> str:
    """Formats `at` for such a row; SQLite stores times as the same text."""
    at = at.astimezone(UTC)
    return at.isoformat() if dialect == "postgresql" else at.replace(tzinfo=None).isoformat(" ", "microseconds")


class _ArrayParameter(TypeDecorator[Sequence[Any]]):
    """A list of values of one type, passed as one value."""

    impl = JSON
    cache_ok = True

    def __init__(self, item_type: TypeEngine[Any]) -> None:
        super().__init__()
        self.item_type = item_type

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(self.item_type) if dialect.name == "postgresql" else JSON())

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> list[Any]:
        if dialect.name == "postgresql":
            return list(value or ())
        return [item.hex if isinstance(item, UUID) else item for item in value or ()]


def stored_ids(dialect: str, ids: Sequence[UUID]) -> Sequence[UUID] | Sequence[str]:
    """Returns `ids` as the driver writes and reads them; `IDS_PARAM` takes both forms."""
    return ids if dialect == "postgresql" else [id_.hex for id_ in ids]


def in_parameter(dialect: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Returns the condition that `column`, of ids or words, is in the list passed as `IDS_PARAM`.

    The statement's text does not depend on the length of the list. A planner without table statistics uses
    the index for this condition, but not for a join with `rows_parameter`.
    """
    items = bindparam(IDS_PARAM, type_=_ArrayParameter(column.type))
    if dialect == "postgresql":
        return column == any_(items)
    return column.in_(select(func.json_each(items).table_valued("value").c.value))
