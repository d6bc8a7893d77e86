"""Supervises the processes of one machine: starts, restarts and stops them together."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

from understudy.cli.terminal import write_line
from understudy.deploy.child import Child, describe_exit

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_S = 0.05


class StopRequested(Exception):
    """A signal requested the stop during a wait."""


@dataclass(slots=True)
class _SupervisedChild:
    child: Child
    started_at: float
    #: Consecutive exits, each soon after a start.
    failures: int = 0
    #: Time of the next restart (monotonic clock); None while the process runs.
    due_at: float | None = None


class Supervisor:
    """Starts children in stages, restarts children that die, stops the stages in reverse order.

    A context manager: inside it SIGINT, SIGTERM and SIGHUP request the stop instead of ending the process.
    Its exit stops all children, also after an exception. Another signal during the stop kills the children
    that still run. All work happens in the calling thread. This must be the main thread and must live as
    long as the children (see `understudy.deploy.exec_with_parent`).
    """

    def __init__(
        self,
        *,
        log: Callable[[str], None] = lambda text: write_line(text, stderr=True),
        grace_s: float = 15,
        backoff_s: float = 0.5,
        max_backoff_s: float = 30,
        stable_s: float = 30,
    ) -> None:
        """Sets `grace_s`, the time in seconds that a stage may take to stop before it is killed.

        A dead child restarts after `backoff_s`; each further exit doubles the delay up to `max_backoff_s`.
        After `stable_s` of running, a child counts as healthy again.
        """
        self._log = log
        self._grace_s = grace_s
        self._backoff_s = backoff_s
        self._max_backoff_s = max_backoff_s
        self._stable_s = stable_s
        self._stages: list[list[_SupervisedChild]] = []
        self._signals_seen = 0
        self._previous: dict[int, Any] = {}

    @property
    def stop_requested(self) -> bool:
        return self._signals_seen > 0

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def start(self, *children: Child) -> None:
        """Starts a stage: children that start and stop in parallel. Does not wait until they are ready."""
        stage: list[_SupervisedChild] = []
        self._stages.append(stage)
        for child in children:
            child.start()
            stage.append(_SupervisedChild(child, time.monotonic()))

    def attach(self, child: Child) -> None:
        """Supervises a child that is already running, in a stage of its own."""
        self._stages.append([_SupervisedChild(child, time.monotonic())])

    def wait_ready(self, timeout_s: float) -> None:
        """Waits until all children are ready.

        Raises ChildFailed if a child ends first or the timeout expires. A child that ends during its first
        start is not restarted. Raises StopRequested if a signal arrives first.
        """
        deadline = time.monotonic() + timeout_s
        for entry in self._all():
            child = entry.child
            while not child.ready:
                if self.stop_requested:
                    raise StopRequested
                for other in self._all():
                    if (code := other.child.exit_code) is not None:
                        raise other.child.failure(f"failed to start ({describe_exit(code)})")
                if time.monotonic() > deadline:
                    raise child.failure(f"was not ready within {timeout_s:.0f} s")
                time.sleep(_TICK_S)

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Supervises the children and restarts dead ones until a signal arrives or `until` returns true."""
        while not self.stop_requested and not until():
            for entry in self._all():
                self._check_child(entry)
            time.sleep(_TICK_S)

    def stop(self) -> None:
        """Stops the stages, the last one first. On return no process is left. Can be repeated."""
        signals_before = self._signals_seen
        while self._stages:
            stage = [entry.child for entry in self._stages[-1]]
            for child in stage:
                child.terminate()
            deadline = time.monotonic() + self._grace_s
            while any(child.running for child in stage):
                if self._signals_seen > signals_before or time.monotonic() > deadline:
                    break
                time.sleep(_TICK_S / 5)
            for child in stage:
                if child.running:
                    self._log(f"{child.name} did not stop in time: killing it")
                # Also after its end: its session may still contain processes.
                child.kill()
            self._stages.pop()

    def _all(self) -> list[_SupervisedChild]:
        return [entry for stage in self._stages for entry in stage]

    def _check_child(self, entry: _SupervisedChild) -> None:
        child, now = entry.child, time.monotonic()
        code = child.exit_code
        if code is None:
            return
        if entry.due_at is None:
            entry.failures = 1 if now - entry.started_at >= self._stable_s else entry.failures + 1
            wait_s = min(self._backoff_s * 2 ** (entry.failures - 1), self._max_backoff_s)
            entry.due_at = now + wait_s
            ended = f"{child.name} ended ({describe_exit(code)})"
            self._log(f"{ended}; restarting it in {wait_s:g} s; see its log {child.log}")
            child.kill()
        elif now >= entry.due_at:
            entry.due_at = None
            entry.started_at = now
            child.start()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # Only counts: the main thread continues to a point where it can stop.
        self._signals_seen += 1
