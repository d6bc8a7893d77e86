"""Keeps the processes of one machine running together, and ends them together."""

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

from understudy.deploy.child import Child, describe_exit

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_S = 0.05


class StopRequested(Exception):
    """A signal asked for the stop while something was still being waited for."""


@dataclass(slots=True)
class _SupervisedChild:
    child: Child
    started_at: float
    #: Ends in a row, each soon after a start.
    failures: int = 0
    #: When it is to be started again; None while it runs.
    due_at: float | None = None


class Supervisor:
    """Starts children in stages, starts again what dies, stops the stages in reverse order.

    Used as a context: inside it SIGINT, SIGTERM and SIGHUP ask for the stop instead of ending the process,
    and leaving it stops everything, also on an exception. One more signal while it stops hastens the stop:
    what still runs is killed. Everything happens in the thread that calls, which must be the main one and
    must live as long as the children (see `understudy.deploy.exec_with_parent`).
    """

    def __init__(
        self,
        *,
        log: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),  # noqa: T201
        grace_s: float = 15,
        backoff_s: float = 0.5,
        max_backoff_s: float = 30,
        stable_s: float = 30,
    ) -> None:
        """`grace_s`: how long a stage may take to stop before it is killed.

        A child that dies is started again after `backoff_s`, doubled with each further end up to
        `max_backoff_s`; one that ran for `stable_s` is taken for healthy again.
        """
        self._say = log
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
        """Starts a stage: children that start, and later stop, side by side. Does not wait for them."""
        stage: list[_SupervisedChild] = []
        self._stages.append(stage)
        for child in children:
            child.start()
            stage.append(_SupervisedChild(child, time.monotonic()))

    def attach(self, child: Child) -> None:
        """Watches, from now on, a child that was started elsewhere; a stage of its own."""
        self._stages.append([_SupervisedChild(child, time.monotonic())])

    def wait_ready(self, timeout_s: float) -> None:
        """Waits until all children are ready.

        Raises ChildFailed for one that ends before (it is not started again: what can't start once is
        broken) or takes longer, StopRequested if a signal comes first.
        """
        deadline = time.monotonic() + timeout_s
        for watched in self._all():
            child = watched.child
            while not child.ready:
                if self.stop_requested:
                    raise StopRequested
                for other in self._all():
                    if (code := other.child.exit_code) is not None:
                        raise other.child.failure(f"could not be started ({describe_exit(code)})")
                if time.monotonic() > deadline:
                    raise child.failure(f"was not ready within {timeout_s:.0f} s")
                time.sleep(_TICK_S)

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Watches the children, starting again what dies, until a signal comes or `until` holds."""
        while not self.stop_requested and not until():
            for watched in self._all():
                self._check_child(watched)
            time.sleep(_TICK_S)

    def stop(self) -> None:
        """Stops the stages, the last one first. Nothing of them is left when it returns. May be repeated."""
        signals_before = self._signals_seen
        while self._stages:
            stage = [watched.child for watched in self._stages[-1]]
            for child in stage:
                child.terminate()
            deadline = time.monotonic() + self._grace_s
            while any(child.running for child in stage):
                if self._signals_seen > signals_before or time.monotonic() > deadline:
                    break
                time.sleep(_TICK_S / 5)
            for child in stage:
                if child.running:
                    self._say(f"{child.name} did not stop in time and is killed")
                # Also one that has ended: what it may have left in its session goes with it.
                child.kill()
            self._stages.pop()

    def _all(self) -> list[_SupervisedChild]:
        return [watched for stage in self._stages for watched in stage]

    def _check_child(self, watched: _SupervisedChild) -> None:
        child, now = watched.child, time.monotonic()
        code = child.exit_code
        if code is None:
            return
        if watched.due_at is None:
            watched.failures = 1 if now - watched.started_at >= self._stable_s else watched.failures + 1
            wait_s = min(self._backoff_s * 2 ** (watched.failures - 1), self._max_backoff_s)
            watched.due_at = now + wait_s
            ended = f"{child.name} ended ({describe_exit(code)})"
            self._say(f"{ended}, starting it again in {wait_s:g} s; its log is {child.log}")
            child.kill()
        elif now >= watched.due_at:
            watched.due_at = None
            watched.started_at = now
            child.start()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # Only counts: whatever the main thread does at this moment is seen through to a point where it may
        # stop.
        self._signals_seen += 1
