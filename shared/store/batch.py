"""Many rows as one parameter: what one statement is to do for each of them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON, Column, FromClause, bindparam, column, func, select

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
