"""Lanes: work whose cost an outsider decides is done in a child process with a limit of time and memory."""

import asyncio
import contextlib
import heapq
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from understudy.isolation import OwnFailure
from understudy.isolation.child import HEADER
from understudy.plugins.time_limits import current_timer

#: Seconds for a child's answer, whatever else the machine does. Its own limit is processor time.
_ANSWER_TIMEOUT_S = 60.0
#: Maximum bytes of an answer.
_MAX_ANSWER_BYTES = 16 << 20
#: Variables that a child gets; the worker's others hold secrets.
_PASSED_VARIABLES = ("PATH", "LANG", "LC_ALL", "PYTHON", "COVERAGE", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "TMPDIR")


class TooCostly(Exception):
    """The work exceeds the limits of time or memory."""


class LaneError(Exception):
    """The function raised an error, of which this is the text."""


class LaneLimits(NamedTuple):
    """Limits of a child process."""

    #: Processor time of one call, in seconds.
    cpu_s: float
    #: Memory that the child may reserve, code included.
    max_mb: int
    #: After a call, a larger child ends; the next call starts a new one. So its memory is given back at once.
    recycle_mb: int


@dataclass(slots=True)
class LaneUser:
    """One run's account: whoever has used a lane least goes first."""

    used_s: float = 0.0


class Lane:
    """Calls one function in a child process, one call at a time. Belongs to one event loop.

    The child starts with the first call. It gets no secrets, and it ends with this process.
    """

    def __init__(self, function: str, limits: LaneLimits) -> None:
        """`function` is `module:name`; see `child.Work`."""
        self._function = function
        self._limits = limits
        self._turns = _Turns()
        self._child: _Child | None = None

    async def call(self, question: Any, body: bytes, user: LaneUser) -> Any:
        """Returns the function's answer, anything but null.

        Raises TooCostly, or LaneError if the function fails. Raises OwnFailure if no child can start, or if the machine
        gives it no processor time.

        The wait for the lane does not count for the step's time limit. Cancellation ends the child.
        """
        async with self._turns.taken(user.used_s):
            began = time.monotonic()
            try:
                return await self._call(question, body)
            finally:
                user.used_s += time.monotonic() - began

    async def close(self) -> None:
        """Ends the child."""
        self._end_child()

    async def _call(self, question: Any, body: bytes) -> Any:
        for is_last in (False, True):
            child = self._child = self._child or await _Child.start(self._function, self._limits)
            answer = None
            try:
                async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                    answer = await child.exchange(question, body)
            except TimeoutError:
                raise OwnFailure(f"a child process did not answer within {_ANSWER_TIMEOUT_S:g} s") from None
            except (asyncio.IncompleteReadError, OSError):
                # The child has ended. If not for its time, then perhaps an operator ended it: try again.
                if is_last or await child.has_used_its_time():
                    raise TooCostly from None
            finally:
                if answer is None or child.is_at_end():
                    self._end_child()
            if isinstance(answer, LaneError):
                raise answer
            if answer is not None:
                return answer
        raise AssertionError("unreachable")

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


class _Child:
    def __init__(
        self, process: "subprocess.Popen[bytes]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, function: str, limits: LaneLimits) -> "_Child":
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise OwnFailure(f"no file descriptor for a child process ({error.strerror})") from error
        try:
            with theirs:
                process = _spawn(function, limits, theirs)
            return cls(process, *await asyncio.open_connection(sock=ours))
        except OSError as error:
            ours.close()
            raise OwnFailure(f"a child process cannot start ({error.strerror})") from error

    async def exchange(self, question: Any, body: bytes) -> Any:
        """Sends one request and returns its answer. Raises IncompleteReadError or OSError if the child ends."""
        sent = json.dumps(question).encode()
        self._writer.writelines((HEADER.pack(len(sent), len(body)), sent, body))
        await self._writer.drain()
        size, failed = HEADER.unpack(await self._reader.readexactly(HEADER.size))
        if size > _MAX_ANSWER_BYTES:
            raise TooCostly
        answer = json.loads(await self._reader.readexactly(size))
        return LaneError(answer) if failed else answer

    def is_at_end(self) -> bool:
        """Returns whether the child has closed its connection after an answer."""
        return self._reader.at_eof()

    async def has_used_its_time(self) -> bool:
        """Returns whether the child ended because a call took too much processor time."""
        for _ in range(20):
            if self._process.poll() is not None:
                break
            # It has closed its connection and ends in a moment.
            await asyncio.sleep(0.01)
        return self._process.returncode == -signal.SIGPROF

    def end(self) -> None:
        self._writer.close()
        self._process.kill()
        # Freeing hundreds of megabytes takes a while.
        threading.Thread(target=self._process.wait, name="end of a child", daemon=True).start()


def _spawn(function: str, limits: LaneLimits, connection: socket.socket) -> "subprocess.Popen[bytes]":
    arguments = map(str, (*limits, connection.fileno()))
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-P", "-m", "understudy.isolation.child", function, *arguments],
        pass_fds=[connection.fileno()],
        stdin=subprocess.DEVNULL,
        env=_child_environment(),
    )


def _child_environment() -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_VARIABLES)}
    return passed | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class _Turns:
    """A lock that admits first whoever has used least."""

    def __init__(self) -> None:
        self._taken = False
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    @contextlib.asynccontextmanager
    async def taken(self, used_s: float) -> AsyncIterator[None]:
        if self._taken:
            turn = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (used_s, next(self._numbers), turn))
            with current_timer().paused():
                try:
                    await turn
                except asyncio.CancelledError:
                    if turn.done() and not turn.cancelled():
                        self._pass_on()
                    raise
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        self._taken = False
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                # Taken at once: nobody else can come in between.
                self._taken = True
                turn.set_result(None)
                return
