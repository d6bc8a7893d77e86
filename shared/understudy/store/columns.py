"""Columns and indexes that several tables define in the same way."""

from typing import Any

from sqlalchemy import JSON, Index, text
from sqlmodel import Field

from understudy.store.utc import UtcTime


def timestamp() -> Any:
    """Returns a column that holds a time."""
    return Field(sa_type=UtcTime)


def optional_timestamp() -> Any:
    """Returns a column that holds a time or null."""
    return Field(default=None, sa_type=UtcTime)


def json_value() -> Any:
    """Returns a column that holds JSON."""
    return Field(sa_type=JSON)


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Returns an index of the rows that match `where`."""
    return Index(name, *columns, unique=unique, postgresql_where=text(where), sqlite_where=text(where))
