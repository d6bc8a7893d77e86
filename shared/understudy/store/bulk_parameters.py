"""Many rows as one parameter: what one statement is to do for each of them.

psycopg sends a list of parameters row by row, at nearly twice the cost; and who is frozen or cut off between
two of them is neither idle nor late to PostgreSQL, which lets it keep its locks.
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

#: What the statement's parameter is called; its value is a list of objects, as JSON.
ROWS_PARAM = "batch"
#: And that of `in_parameter`, a list.
IDS_PARAM = "among"


def rows_parameter(dialect: str, *columns: Column[Any]) -> FromClause:
    """The rows that a statement is given as `ROWS_PARAM`, with the names and types of `columns`.

    Ids go in as hex digits without hyphens: so SQLite keeps them, and PostgreSQL reads them. Moments go in
    as `format_time` writes them; what is JSON, as objects.
    """
    given = bindparam(ROWS_PARAM, type_=JSON)
    if dialect == "postgresql":
        rows = func.json_to_recordset(given).table_valued(*(column(one.name, one.type) for one in columns))
        return rows.render_derived(name="given", with_types=True)
    each = func.json_each(given).table_valued("value")
    parts = (func.json_extract(each.c.value, f"$.{one.name}", type_=one.type) for one in columns)
    return select(*(part.label(one.name) for part, one in zip(parts, columns, strict=True))).subquery("given")


def parameter(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The parameter of such a statement."""
    return {ROWS_PARAM: rows}


def format_time(dialect: str, at: datetime) -> str:
    """`at` for such a row; as text it is what SQLite stores."""
    at = at.astimezone(UTC)
    return (
        at.isoformat() if dialect == "postgresql" else at.replace(tzinfo=None).isoformat(" ", "microseconds")
    )


class _ArrayParameter(TypeDecorator[Sequence[Any]]):
    """Several values of one type, as one value."""

    impl = JSON
    cache_ok = True

    def __init__(self, of: TypeEngine[Any]) -> None:
        super().__init__()
        self.of = of

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(self.of) if dialect.name == "postgresql" else JSON())

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> list[Any]:
        if dialect.name == "postgresql":
            return list(value or ())
        return [one.hex if isinstance(one, UUID) else one for one in value or ()]


def in_parameter(dialect: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Is `column`, of ids or words, one of those that the statement is given as `IDS_PARAM`, however many?

    The text of the statement does not depend on how many, and a planner that knows nothing of the table takes
    the index for it, which it does not for a join with `rows_parameter`.
    """
    several = bindparam(IDS_PARAM, type_=_ArrayParameter(column.type))
    if dialect == "postgresql":
        return column == any_(several)
    return column.in_(select(func.json_each(several).table_valued("value").c.value))
