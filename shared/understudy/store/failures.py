"""Classifies errors of a database driver: a lost race, an unavailable store, a refused value or a defect."""

import sqlite3
from enum import Enum, auto

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError


class StoreFailure(Enum):
    """The kinds of errors of a store. Only RACE and UNAVAILABLE pass by themselves."""

    #: The transaction lost a race and wrote nothing: a repetition may succeed.
    RACE = auto()
    #: The store does not answer, is locked, full or read-only: a later request may succeed.
    UNAVAILABLE = auto()
    #: The store accepts the statement but not these values.
    VALUE = auto()
    #: The statement does not fit the schema: a repetition fails too.
    DEFECT = auto()


#: serialization_failure, deadlock_detected, idle_in_transaction_session_timeout, transaction_timeout. The
#: timeouts end transactions of a frozen or starved process. None of these commits anything.
_RACES = frozenset({"40001", "40P01", "25P03", "25P04"})
#: foreign_key_violation: what the row refers to was deleted after the transaction had read it.
_DELETED_MEANWHILE = "23503"
_DISK_FULL = "53100"
#: Classes connection exception, insufficient resources, operator intervention, system error.
_UNAVAILABLE_CLASSES = frozenset({"08", "53", "57", "58"})
#: lock_not_available; read_only_sql_transaction; feature_not_supported, which PostgreSQL reports on a
#: connection that has read before. The last two come from a standby that is not yet the primary.
_UNAVAILABLE_STATES = frozenset({"55P03", "25006", "0A000"})
_SQLITE_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


def classify(error: DBAPIError) -> StoreFailure:
    """Returns what `error` means, by the code of the database; the class of an error says too little."""
    if getattr(error.orig, "sqlstate", None) == _DELETED_MEANWHILE:
        return StoreFailure.RACE
    if isinstance(error, (DataError, IntegrityError)):
        return StoreFailure.VALUE
    is_unavailable = _is_unavailable_sqlite if isinstance(error.orig, sqlite3.Error) else _is_unavailable_postgresql
    if getattr(error.orig, "sqlstate", None) in _RACES:
        return StoreFailure.RACE
    return StoreFailure.UNAVAILABLE if is_unavailable(error) else StoreFailure.DEFECT


def is_full(error: Exception) -> bool:
    """Returns whether a write failed because the disk of the store is full."""
    orig = getattr(error, "orig", None)
    code = getattr(orig, "sqlite_errorcode", 0) & 0xFF
    return code == sqlite3.SQLITE_FULL or getattr(orig, "sqlstate", None) == _DISK_FULL


def is_value_error(error: Exception) -> bool:
    """Returns whether `error` of a write comes from a value of its caller, found before or in the store."""
    return not isinstance(error, DBAPIError) or classify(error) is StoreFailure.VALUE


def _is_unavailable_sqlite(error: DBAPIError) -> bool:
    # The lowest byte of an extended code is its primary code.
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_UNAVAILABLE


def _is_unavailable_postgresql(error: DBAPIError) -> bool:
    state: str | None = getattr(error.orig, "sqlstate", None)
    if state is None:
        # A connection that failed or was lost: the server sent no error.
        return isinstance(error, (OperationalError, InterfaceError))
    return state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE_STATES
