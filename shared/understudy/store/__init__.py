"""All SQL of Understudy, synchronous. Functions take an open connection, so a caller combines them in one
transaction. Every guarded write returns the rows that it changed."""

from sqlalchemy import Connection

__all__ = ["Connection"]
