"""Many rows as one parameter: what one statement is to do for each of them."""

from collections.abc import Sequence
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
    Uuid,
    any_,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.types import TypeEngine

#: What the statement's parameter is called; its value is a list of objects, as JSON.
NAME = "batch"


def rows_of(dialect: str, *columns: Column[Any]) -> FromClause:
    """The rows that a statement is given as `NAME`, with the names and types of `columns`.

    Ids go in as hex digits without hyphens: so SQLite keeps them, and PostgreSQL reads them.
    """
    given = bindparam(NAME, type_=JSON)
    if dialect == "postgresql":
        rows = func.json_to_recordset(given).table_valued(*(column(one.name, one.type) for one in columns))
        return rows.render_derived(name="given", with_types=True)
    each = func.json_each(given).table_valued("value")
    parts = (func.json_extract(each.c.value, f"$.{one.name}", type_=one.type) for one in columns)
    return select(*(part.label(one.name) for part, one in zip(parts, columns, strict=True))).subquery("given")


def parameter(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The parameter of such a statement."""
    return {NAME: rows}


class _Ids(TypeDecorator[Sequence[UUID]]):
    """A list of ids as one value."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(Uuid()) if dialect.name == "postgresql" else JSON())

    def process_bind_param(self, value: Sequence[UUID] | None, dialect: Dialect) -> list[Any] | None:
        if value is None:
            return None
        return list(value) if dialect.name == "postgresql" else [id_.hex for id_ in value]


def among_ids(dialect: str, column: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Is `column` one of those that the statement is given as `ids`, however many?

    The text of the statement does not depend on how many, and a planner that knows nothing of the table takes
    the index for it, which it does not for a join with `rows_of`.
    """
    ids = bindparam("ids", type_=_Ids)
    if dialect == "postgresql":
        return column == any_(ids)
    return column.in_(select(func.json_each(ids).table_valued("value").c.value))
