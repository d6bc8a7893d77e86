"""The store: transaction boundaries, retries, timeouts and the store's clock."""

import json
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from sqlalchemy import URL, Connection, Engine, Row, create_engine, event, literal, make_url, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import SQLAlchemyError as StoreError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from understudy import faults
from understudy.domain.errors import ServiceUnavailable, ValidationError
from understudy.store.failures import StoreFailure, classify, is_full
from understudy.store.utc import UtcTime

__all__ = ["AnyRow", "Store", "StoreError", "StoreObserver", "chunks", "store_clock", "store_time"]

log = logging.getLogger(__name__)

#: Maximum connections of one process.
POOL_SIZE = 10
#: Seconds that a writer waits for another one; shorter than a lease.
LOCK_TIMEOUT_S = 5
#: Maximum seconds of a statement. A server that is silent longer counts as unavailable.
STATEMENT_TIMEOUT_S = 15
#: Maximum seconds to connect: a disconnected worker reconnects soon after its next heartbeat.
CONNECT_TIMEOUT_S = 3
TCP_TIMEOUT_S = 6
#: Seconds after which PostgreSQL ends an idle transaction. Its process froze or disconnected, and its locks
#: block the recovery of its runs. Some transactions prepare thousands of rows; a worker's never idle as long.
IDLE_TIMEOUT_S = 5
WORKER_IDLE_TIMEOUT_S = 1
#: Maximum seconds of a transaction, from PostgreSQL 17 on. A client that disconnects within a long statement
#: is not idle to the server, which waits for its rest.
TRANSACTION_TIMEOUT_S = 30
#: Maximum tries of a transaction that loses races against others.
MAX_TRANSACTION_TRIES = 10

#: Rejects NaN and infinity on both stores, before either sees them: they are the caller's error.
_dump_json = json.JSONEncoder(allow_nan=False).encode

#: Maximum page cache of a SQLite connection, in KB. Ids are random, and so are the pages that a write needs.
#: With the default of 2 MB, SQLite reads and writes some several times in one transaction.
CACHE_KB = 16_000
#: Pages of its log that SQLite copies into the file at once (16 MB). With the default of 1,000, it copies
#: pages that all runs write after every few commits.
CHECKPOINT_PAGES = 4_000

#: Query parameter of a PostgreSQL URL. `transaction`: the URL is that of a pooler that gives each transaction
#: any connection, like PgBouncer in that mode.
POOLING = "pooling"

#: Maximum parameters of one statement; SQLite accepts at most 32,766.
MAX_STATEMENT_ITEMS = 5_000

Result = TypeVar("Result")
#: A row of any shape, read by column name.
AnyRow: TypeAlias = Row[*tuple[Any, ...]]


def chunks(items: Sequence[Result], size: int = MAX_STATEMENT_ITEMS) -> Iterator[Sequence[Result]]:
    """Splits `items` into parts that fit one statement."""
    return (items[start : start + size] for start in range(0, len(items), size))


class store_clock(FunctionElement[Any]):  # noqa: N801 - an SQL function
    """The store's time plus `offset_s` seconds: hosts may disagree about the time, the store does not.

    It reads the wall clock, not the transaction's start: a writer must not store the time before a lock wait.
    """

    type = UtcTime()
    inherit_cache = True

    def __init__(self, offset_s: float | None = None) -> None:
        super().__init__(*(() if offset_s is None else (literal(float(offset_s)),)))


def store_time(connection: Connection, offset_s: float = 0) -> datetime:
    """Returns `store_clock` as a value."""
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
        """Encloses one transaction, including the wait for a connection and for a lock."""

    def failed(self, reason: Literal["away", "race"]) -> None:
        """Reports that the store is unavailable, or that a transaction lost a race and is repeated."""


class _NoObserver:
    def time(self, kind: Literal["read", "write"]) -> AbstractContextManager[Any]:  # noqa: ARG002
        return nullcontext()

    def failed(self, reason: Literal["away", "race"]) -> None:
        """Ignores the failure."""


class Store:
    """SQLite or PostgreSQL, by URL. Thread-safe; create one per process, after any fork."""

    def __init__(
        self, url: str, *, idle_timeout_s: float = IDLE_TIMEOUT_S, observer: StoreObserver | None = None
    ) -> None:
        """Creates the connection pool. PostgreSQL ends a transaction that is idle for `idle_timeout_s`."""
        self._observer = observer or _NoObserver()
        self.url = make_url(url)
        sqlite = self.url.get_backend_name() == "sqlite"
        create = _create_sqlite_engine if sqlite else partial(_create_postgresql_engine, idle_timeout_s)
        self.engine = create(self.url)
        self._writer = self.engine.execution_options(write=True)
        # By default, each PostgreSQL statement sees the latest commits, so two statements may disagree.
        snapshot = {} if sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self.engine.execution_options(**snapshot)
        #: On SQLite, a process's writers wait here before they take a connection. SQLite admits one writer at
        #: a time, and writers that wait inside it would leave readers without a connection.
        self._writer_lock: AbstractContextManager[Any] = _WriterLock() if sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Opens a consistent snapshot. Raises ServiceUnavailable if the store is unavailable."""
        with self._observer.time("read"), self._translate_errors(1), self._reader.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Runs `work` in one transaction, commits it and returns its result: all of it or nothing.

        Repeats `work` if the transaction loses a race, so it must do nothing but SQL. Raises ServiceUnavailable
        if the store is unavailable, or if all tries lost a race; the commit may then be in doubt.
        """
        for tries_left in range(MAX_TRANSACTION_TRIES, 0, -1):
            with (
                suppress(_RaceLost),
                self._observer.time("write"),
                self._translate_errors(tries_left),
                self._writer_lock,
                self._writer.begin() as connection,
            ):
                result = work(connection)
                faults.hit_within()
                return result
            time.sleep(random.uniform(0, 0.01) * (MAX_TRANSACTION_TRIES - tries_left + 1))  # noqa: S311
        raise AssertionError("unreachable")

    @contextmanager
    def _translate_errors(self, tries_left: int) -> Iterator[None]:
        """Raises ServiceUnavailable for an error of the store, and _RaceLost for a race if tries are left.

        Errors of a value or of a statement stay as they are.
        """
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            # Its text without the statement.
            reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
            match StoreFailure.UNAVAILABLE if isinstance(error, PoolTimeout) else classify(error):
                case StoreFailure.RACE:
                    self._observer.failed("race")
                    if tries_left > 1:
                        raise _RaceLost from error
                    log.warning("store busy: a transaction lost all its races: %s", reason)
                case StoreFailure.UNAVAILABLE:
                    self._observer.failed("away")
                    log.warning("store unavailable: %s", reason)
                case StoreFailure.VALUE:
                    raise
                case StoreFailure.DEFECT:
                    log.error("store refused a statement; is the store migrated to this version? %s", reason)  # noqa: TRY400 - the caller has the stack
                    raise
            problem = "The disk of the store is full." if is_full(error) else "The store is unavailable."
            raise ServiceUnavailable(f"{problem} Send the same request again in a moment.") from error

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class _RaceLost(Exception):
    """The transaction lost a race and wrote nothing; it is repeated."""


class _WriterLock:
    """A lock with the same timeout as every other lock of the store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=LOCK_TIMEOUT_S):
            raise PoolTimeout(f"no lock within {LOCK_TIMEOUT_S} s: other writers of this process hold it")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _create_sqlite_engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        json_serializer=_dump_json,
        # Values are people's data: they stay out of error messages and logs.
        hide_parameters=True,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=LOCK_TIMEOUT_S,
        connect_args={"timeout": LOCK_TIMEOUT_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "do_connect")
    def _create_private_file(*_: Any) -> None:
        # SQLite gives -wal and -shm the mode of the file; it also reports why a file cannot be created.
        if url.database and url.database != ":memory:" and not url.database.startswith("file:"):
            with suppress(OSError):
                os.close(os.open(url.database, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # The driver begins transactions too late to include a read before the first write.
        connection.isolation_level = None
        _enable_wal(connection)
        for pragma in (
            "synchronous = NORMAL",
            "foreign_keys = ON",
            f"cache_size = -{CACHE_KB}",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        # SQLite's own function converts English letters only.
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer locks at the start: upgrading a read lock later can fail immediately.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _enable_wal(connection: Any) -> None:
    """Switches the file to write-ahead logging, if necessary, so that readers never wait.

    While others open a new file, SQLite refuses this immediately, despite its timeout. This function waits as
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
        raise ValidationError(f"{POOLING} in the store URL must be `transaction` or absent; got {pooling!r}.")
    timeouts = {
        "statement_timeout": STATEMENT_TIMEOUT_S * 1000,
        "lock_timeout": LOCK_TIMEOUT_S * 1000,
        "idle_in_transaction_session_timeout": round(idle_timeout_s * 1000),
        "transaction_timeout": TRANSACTION_TIMEOUT_S * 1000,
    }
    engine = create_engine(
        url.difference_update_query([POOLING]),
        json_serializer=_dump_json,
        # Values are people's data: they stay out of error messages and logs.
        hide_parameters=True,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=LOCK_TIMEOUT_S,
        pool_pre_ping=True,
        # Unacknowledged data and keepalive probes reveal a server that vanished silently.
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            # The driver returns bytes for the text of a SQL_ASCII database, and could not even connect.
            "client_encoding": "utf8",
            "tcp_user_timeout": TCP_TIMEOUT_S * 1000,
            "keepalives_idle": TCP_TIMEOUT_S // 2,
            "keepalives_interval": 1,
            "keepalives_count": TCP_TIMEOUT_S // 2,
        }
        # Statements prepared on one of the pooler's connections do not exist on the next.
        | ({"prepare_threshold": None} if pooling else {}),
    )
    if pooling:
        # A session setting would stay on the pooler's connection, which another client uses next.
        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            version = int((connection.dialect.server_version_info or (0,))[0])
            connection.exec_driver_sql(
                "; ".join(f"SET LOCAL {item}" for item in _supported_timeouts(timeouts, version))
            )

        return engine

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.autocommit = True
        for item in _supported_timeouts(timeouts, connection.info.server_version // 10_000):
            connection.execute(f"SET {item}")
        connection.autocommit = False

    return engine


def _supported_timeouts(timeouts: Mapping[str, int], version: int) -> Iterator[str]:
    """Yields the settings that a server of this version has, in milliseconds."""
    for name, ms in timeouts.items():
        if name != "transaction_timeout" or version >= 17:
            yield f"{name} = {ms}"
