"""Time limits of steps and runs, and the failure on a timeout. Waits for shared resources do not count."""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

from understudy.domain.lifecycle import FailureKind
from understudy.domain.simulation import Usage


class RunFailed(Exception):
    """The run cannot continue: its participant fails with `kind`."""

    def __init__(self, kind: FailureKind, message: str, used: Usage | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        #: Language model usage of the failed step, if any.
        self.used = used

    def because(self, reason: str) -> "RunFailed":
        """Returns this failure with a reason at the end of its message; without one, the same."""
        return RunFailed(self.kind, f"{self} {reason}", self.used) if reason else self


class Limits(NamedTuple):
    """Limits a run and its steps."""

    step_timeout_s: float
    run_timeout_s: float
    #: Monotonic time at which all claims of the run together reach `run_timeout_s`.
    deadline: float

    @classmethod
    def from_claim(cls, step_timeout_s: float, run_timeout_s: float, claimed_ms: int) -> "Limits":
        """Returns the limits of a run whose earlier claims lasted `claimed_ms`."""
        remaining_s = run_timeout_s - claimed_ms / 1000
        return cls(step_timeout_s, run_timeout_s, time.monotonic() + remaining_s)

    def next_step_limit(self) -> tuple[float, RunFailed]:
        """Returns the seconds the next step may take, and the failure to raise on timeout."""
        remaining_s = max(self.deadline - time.monotonic(), 0)
        if remaining_s < self.step_timeout_s:
            message = f"The run took longer than the {self.run_timeout_s:g} s allowed."
            return remaining_s, RunFailed(FailureKind.RUN_TIMEOUT, message)
        message = f"A step took longer than the {self.step_timeout_s:g} s allowed."
        return self.step_timeout_s, RunFailed(FailureKind.STEP_TIMEOUT, message)


class StepTimer:
    """Counts down the seconds of a step; pauses while the step waits for a shared resource.

    A step that waits for a language model slot is not slow. Call all methods in the loop's thread.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._began = time.monotonic()
        self._waited_s = 0.0
        self._waiting_since: float | None = None
        #: Why the step takes so long, if that is known: a sentence for the error of a timeout.
        self.delayed_by = ""

    def remaining_s(self) -> float:
        """Returns the seconds left; negative after the limit."""
        now = self._waiting_since if self._waiting_since is not None else time.monotonic()
        return self._limit_s - (now - self._began - self._waited_s)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Pauses the timer during this block. Do not nest."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waited_s += time.monotonic() - self._waiting_since
            self._waiting_since = None


_current: ContextVar[StepTimer | None] = ContextVar("step_timer", default=None)


def start_timer(limit_s: float) -> StepTimer:
    """Starts the timer of the step that starts next in this context."""
    timer = StepTimer(limit_s)
    _current.set(timer)
    return timer


def current_timer() -> StepTimer:
    """Returns the timer of the current step; outside a step, one of a day."""
    return _current.get() or StepTimer(86_400)
