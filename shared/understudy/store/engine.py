"""The store: where transactions begin and end, what is retried, and whose clock counts."""

import json
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from sqlalchemy import URL, Connection, Engine, Row, create_engine, event, literal, make_url, select
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, NotSupportedError, OperationalError
from sqlalchemy.exc import SQLAlchemyError as StoreError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from understudy.domain.errors import ServiceUnavailable, ValidationError
from understudy.store.utc import UtcTime

__all__ = ["AnyRow", "Store", "StoreError", "StoreObserver", "chunks", "store_clock", "store_time"]

log = logging.getLogger(__name__)

#: Connections one process may hold.
POOL_SIZE = 10
#: How long a writer waits for another one's turn; less than a lease lasts.
LOCK_TIMEOUT_S = 5
#: How long one statement may take, and a server may keep silent, before it is taken for away.
STATEMENT_TIMEOUT_S = 15
#: How long a new connection may take: whoever was cut off is back soon after its heartbeat asks again.
CONNECT_TIMEOUT_S = 3
TCP_TIMEOUT_S = 6
#: How long a transaction may do nothing, on PostgreSQL: its process was frozen, or cut off, and holds locks
#: that keep others from taking up what it ran. Some prepare thousands of rows in one; the small ones of a
#: worker are never idle for so long.
IDLE_TIMEOUT_S = 5
WORKER_IDLE_TIMEOUT_S = 1
#: How long a transaction may take in all, from PostgreSQL 17 on: who was cut off in the middle of a long
#: statement is not idle to the server, which waits for the rest of it.
TRANSACTION_TIMEOUT_S = 30
#: Transactions that lost a race against another are begun anew this often.
MAX_TRANSACTION_TRIES = 10

#: serialization_failure, deadlock_detected; and idle_in_transaction_session_timeout and transaction_timeout,
#: of a process that was frozen or starved for a while: nothing of its transaction was committed.
_RETRYABLE_SQLSTATES = frozenset({"40001", "40P01", "25P03", "25P04"})
#: read_only_sql_transaction, and feature_not_supported, which PostgreSQL says on a connection that has read
#: before: a standby that is not yet the primary.
_STANDBY_SQLSTATES = frozenset({"25006", "0A000"})

#: What is no JSON is the fault of who wants it stored, on both stores, before either sees it.
_dump_json = partial(json.dumps, allow_nan=False)

#: Of the file's pages, what a connection of SQLite keeps in memory at most. Ids are random, and so are the
#: pages that a write needs: with its own 2 MB it reads and writes some several times in one transaction.
CACHE_KB = 16_000
#: Pages of its log that SQLite copies into the file at once (16 MB). At its own 1,000, pages that all runs
#: write to are copied after every few commits.
CHECKPOINT_PAGES = 4_000

#: In the query of a PostgreSQL URL: `transaction` if it is that of a pooler which gives each transaction any
#: connection, as PgBouncer does in that mode.
POOLING = "pooling"

#: Parameters of one statement; SQLite takes at most 32,766.
MAX_STATEMENT_ITEMS = 5_000

Result = TypeVar("Result")
#: A row of any shape, read by column name.
AnyRow: TypeAlias = Row[*tuple[Any, ...]]


def chunks(items: Sequence[Result], size: int = MAX_STATEMENT_ITEMS) -> Iterator[Sequence[Result]]:
    """`items` in pieces that fit one statement."""
    return (items[start : start + size] for start in range(0, len(items), size))


class store_clock(FunctionElement[Any]):  # noqa: N801 - an SQL function
    """The store's own time plus `offset_s` seconds: hosts may disagree, the store does not.

    It reads the wall clock, not the transaction's start: who waited for a lock must not write the past.
    """

    type = UtcTime()
    inherit_cache = True

    def __init__(self, offset_s: float | None = None) -> None:
        super().__init__(*(() if offset_s is None else (literal(float(offset_s)),)))


def store_time(connection: Connection, offset_s: float = 0) -> datetime:
    """`store_clock` as a value."""
    now: datetime = connection.execute(select(store_clock(offset_s))).scalar_one()
    return now


@compiles(store_clock, "sqlite")
def _sqlite_clock(element: store_clock, compiler: Any, **options: Any) -> str:
    now = "'%Y-%m-%d %H:%M:%f000', 'now'"
    if not len(element.clauses):
        return f"strftime({now})"
    return f"strftime({now}, {compiler.process(element.clauses, **options)} || ' seconds')"


@compiles(store_clock, "postgresql")
def _postgresql_clock(element: store_clock, compiler: Any, **options: Any) -> str:
    if not len(element.clauses):
        return "clock_timestamp()"
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


class StoreObserver(Protocol):
    """Receives each transaction and each failure of a `Store`."""

    def time(self, kind: Literal["read", "write"]) -> AbstractContextManager[Any]:
        """Encloses one transaction, with the wait for a connection and for a lock."""

    def failed(self, reason: Literal["away", "race"]) -> None:
        """The store did not answer, or a transaction lost a race and is repeated."""


class _NoObserver:
    def time(self, kind: Literal["read", "write"]) -> AbstractContextManager[Any]:  # noqa: ARG002
        return nullcontext()

    def failed(self, reason: Literal["away", "race"]) -> None:
        """Nobody counts them."""


class Store:
    """SQLite or PostgreSQL, by URL. Thread-safe; made once per process, after any fork."""

    def __init__(
        self, url: str, *, idle_timeout_s: float = IDLE_TIMEOUT_S, observer: StoreObserver | None = None
    ) -> None:
        """PostgreSQL ends a transaction that does nothing for `idle_timeout_s`."""
        self._observer = observer or _NoObserver()
        self.url = make_url(url)
        sqlite = self.url.get_backend_name() == "sqlite"
        make = _create_sqlite_engine if sqlite else partial(_create_postgresql_engine, idle_timeout_s)
        self.engine = make(self.url)
        self._writer = self.engine.execution_options(write=True)
        # On PostgreSQL, by default, each statement sees what was committed before it, and two may disagree.
        snapshot = {} if sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self.engine.execution_options(**snapshot)
        #: Writers of one process take turns on SQLite before they take a connection: it lets in one at a
        #: time anyway, and those that wait inside would leave readers without a connection.
        self._turn: AbstractContextManager[Any] = _WriterLock() if sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent look. Raises ServiceUnavailable when the store does not answer."""
        with self._observer.time("read"), self._translate_errors(), self._reader.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in one transaction and commit it: all of it or nothing.

        `work` is begun anew when another transaction stood in its way, so it must do nothing but SQL.
        Raises ServiceUnavailable when the store does not answer.
        """
        for tries_left in reversed(range(MAX_TRANSACTION_TRIES)):
            try:
                with (
                    self._observer.time("write"),
                    self._translate_errors(),
                    self._turn,
                    self._writer.begin() as connection,
                ):
                    return work(connection)
            except DBAPIError as error:
                if not tries_left or not _is_retryable(error):
                    raise
                self._observer.failed("race")
            time.sleep(random.uniform(0, 0.01) * (MAX_TRANSACTION_TRIES - tries_left))  # noqa: S311
        raise AssertionError("unreachable")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, InternalError, NotSupportedError, PoolTimeout) as error:
            if isinstance(error, DBAPIError) and _is_retryable(error):
                raise
            if isinstance(error, (InternalError, NotSupportedError)) and not _is_standby(error):
                raise
            self._observer.failed("away")
            log.warning("the store does not answer: %s", error)
            raise ServiceUnavailable(
                "The store is unavailable. Send the same request again in a moment."
            ) from error

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class _WriterLock:
    """A lock that is not waited for longer than any other lock of the store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=LOCK_TIMEOUT_S):
            raise PoolTimeout("other writers of this process did not let this one in")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _is_retryable(error: DBAPIError) -> bool:
    """Would the same transaction succeed if begun anew?"""
    return _sqlstate(error) in _RETRYABLE_SQLSTATES


def _is_standby(error: DBAPIError) -> bool:
    return _sqlstate(error) in _STANDBY_SQLSTATES


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _create_sqlite_engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        json_serializer=_dump_json,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=LOCK_TIMEOUT_S,
        connect_args={"timeout": LOCK_TIMEOUT_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # The driver's own transactions begin too late to keep a read and the write after it together.
        connection.isolation_level = None
        _enable_wal(connection)
        for pragma in (
            "synchronous = NORMAL",
            "foreign_keys = ON",
            f"cache_size = -{CACHE_KB}",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        # Its own knows the capitals of English only.
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes its turn at the start: upgrading a read lock later can fail at once.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _enable_wal(connection: Any) -> None:
    """Switch the file to a log of writes ahead, if it was not yet, so that readers wait for nobody.

    While others open a new file SQLite refuses that at once, whatever the timeout: here it waits as
    long as this connection waits for any lock.
    """
    (busy_timeout_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    deadline = time.monotonic() + busy_timeout_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _create_postgresql_engine(idle_timeout_s: float, url: URL) -> Engine:
    pooling = url.query.get(POOLING)
    if pooling not in {None, "transaction"}:
        raise ValidationError(f"{POOLING} in the store's URL must be `transaction`, or left out.")
    timeouts = {
        "statement_timeout": STATEMENT_TIMEOUT_S * 1000,
        "lock_timeout": LOCK_TIMEOUT_S * 1000,
        "idle_in_transaction_session_timeout": round(idle_timeout_s * 1000),
        "transaction_timeout": TRANSACTION_TIMEOUT_S * 1000,
    }
    engine = create_engine(
        url.difference_update_query([POOLING]),
        json_serializer=_dump_json,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=LOCK_TIMEOUT_S,
        pool_pre_ping=True,
        # A server that vanished without a word is noticed by what it does not acknowledge, and by probes.
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": TCP_TIMEOUT_S * 1000,
            "keepalives_idle": TCP_TIMEOUT_S // 2,
            "keepalives_interval": 1,
            "keepalives_count": TCP_TIMEOUT_S // 2,
        }
        # What was prepared on one of the pooler's connections is not there on the next.
        | ({"prepare_threshold": None} if pooling else {}),
    )
    if pooling:
        # What is set for a session stays with the pooler's connection, which is somebody else's next.
        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            version = int((connection.dialect.server_version_info or (0,))[0])
            connection.exec_driver_sql(
                "; ".join(f"SET LOCAL {one}" for one in _supported_timeouts(timeouts, version))
            )

        return engine

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.autocommit = True
        for one in _supported_timeouts(timeouts, connection.info.server_version // 10_000):
            connection.execute(f"SET {one}")
        connection.autocommit = False

    return engine


def _supported_timeouts(timeouts: Mapping[str, int], version: int) -> Iterator[str]:
    """Those that a server of this version has, in milliseconds."""
    for name, ms in timeouts.items():
        if name != "transaction_timeout" or version >= 17:
            yield f"{name} = {ms}"
