"""A transaction that stops before its commit, so that a test decides the order of several."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy import Connection, text

from tests.servers import wait_until
from understudy.store.engine import Store

#: Seconds after which a test that no longer continues fails.
TIMEOUT_S = 30

_BLOCKED = text("SELECT cardinality(pg_blocking_pids(:pid)) > 0")


class OpenTransaction:
    """One write in a thread of its own. It executes its statements at once, and ends when the test says so."""

    def __init__(self, store: Store, threads: ThreadPoolExecutor, write: Callable[[Connection], object]) -> None:
        self._store, self._write = store, write
        self._pid = 0
        self._result = self._is_undone = False
        self._has_written, self._may_end = threading.Event(), threading.Event()
        self._done: Future[bool] = threads.submit(self._run)

    def meet_locks(self) -> str:
        """Waits until PostgreSQL reports that the write `waits` for a lock, or until its statements have run.

        Then returns whether it `skips`: it found nothing to write; or `passes`: it wrote without waiting.
        """
        wait_until(lambda: self._has_written.is_set() or self._is_blocked(), TIMEOUT_S, "written or blocked")
        if not self._has_written.is_set():
            return "waits"
        return "passes" if self._wait_written() else "skips"

    def end(self, *, undo: bool = False) -> bool:
        """Commits or rolls back after the last statement; returns whether the write succeeded."""
        self._wait_written()
        self._is_undone = undo
        self._may_end.set()
        return self._done.result(TIMEOUT_S)

    def _run(self) -> bool:
        try:
            return self._store.write(self._work)
        except _UndoneError:
            return False
        finally:
            self._has_written.set()

    def _work(self, connection: Connection) -> bool:
        if connection.dialect.name == "postgresql":
            self._pid = connection.scalar(text("SELECT pg_backend_pid()")) or 0
        self._result = bool(self._write(connection))
        self._has_written.set()
        assert self._may_end.wait(TIMEOUT_S)
        if self._is_undone:
            raise _UndoneError
        return self._result

    def _wait_written(self) -> bool:
        assert self._has_written.wait(TIMEOUT_S)
        if self._done.done():
            # The write failed: raises its error.
            self._done.result()
        return self._result

    def _is_blocked(self) -> bool:
        with self._store.read() as connection:
            return bool(connection.scalar(_BLOCKED, {"pid": self._pid}))


class _UndoneError(Exception):
    """Makes the store roll back."""
