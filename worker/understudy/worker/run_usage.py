"""Measures the memory growth and the event loop time of each run."""

import os
import resource
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

#: Processor time from which a turn may have allocated memory worth a look, in seconds.
LONG_TURN_S = 0.0002
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class User(Protocol):
    """A run."""

    #: Growth of the process's peak memory while its steps ran, in kilobytes.
    grown_kb: int
    #: Processor time of its steps on the event loop, in seconds.
    used_s: float


def resident_mb() -> int:
    """Returns the resident memory of this process in MB; 0 if the system does not report it."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return 0
    return pages * _PAGE_SIZE // 2**20


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Measured(Coroutine[Any, Any, Any]):
    """A coroutine of a run, which counts what each of its turns uses.

    Runs share an event loop, but only one of them has its turn at any time.
    """

    __slots__ = ("_inner", "_owner")

    def __init__(self, inner: Coroutine[Any, Any, Any], owner: User) -> None:
        self._inner = inner
        self._owner = owner

    def send(self, value: Any) -> Any:
        """Runs one turn, as the event loop asks."""
        began_s, before_kb = time.thread_time(), _peak_kb()
        try:
            return self._inner.send(value)
        finally:
            self._count(began_s, before_kb)

    def throw(self, *error: Any) -> Any:
        """Runs one turn that begins with an exception, such as a cancellation."""
        began_s, before_kb = time.thread_time(), _peak_kb()
        try:
            return self._inner.throw(*error)
        finally:
            self._count(began_s, before_kb)

    def _count(self, began_s: float, before_kb: int) -> None:
        took_s = time.thread_time() - began_s
        self._owner.used_s += took_s
        # Whoever takes much memory takes time.
        if took_s >= LONG_TURN_S:
            self._owner.grown_kb += _peak_kb() - before_kb

    def close(self) -> None:
        """Ends the coroutine."""
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()
