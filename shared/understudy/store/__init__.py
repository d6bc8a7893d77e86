"""All SQL of Understudy, synchronous. Functions take an open connection, so that a caller composes them into
one transaction; every guarded write returns the rows that moved."""

from sqlalchemy import Connection

__all__ = ["Connection"]
