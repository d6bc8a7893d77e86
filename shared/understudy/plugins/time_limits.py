"""How long a step and a run may take, waits for something shared not counted, and the failure beyond that."""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

from understudy.domain.lifecycle import FailureKind
from understudy.domain.simulation import Usage


class RunFailed(Exception):
    """The run cannot go on."""

    def __init__(self, kind: FailureKind, message: str, used: Usage | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        #: What a language model was asked for all the same.
        self.used = used


class Limits(NamedTuple):
    """How long a run's steps may take."""

    step_timeout_s: float
    run_timeout_s: float
    #: Monotonic time at which the run has held its row for `run_timeout_s`, earlier claims included.
    deadline: float

    @classmethod
    def from_claim(cls, step_timeout_s: float, run_timeout_s: float, claimed_ms: int) -> "Limits":
        """Those of a run that has held its row for `claimed_ms` before."""
        remaining_s = run_timeout_s - claimed_ms / 1000
        return cls(step_timeout_s, run_timeout_s, time.monotonic() + remaining_s)

    def next_step_limit(self) -> tuple[float, RunFailed]:
        """Seconds the next step may take, and the failure if it takes longer."""
        left_s = max(self.deadline - time.monotonic(), 0)
        if left_s < self.step_timeout_s:
            message = f"The run took longer than the {self.run_timeout_s:g} s allowed."
            return left_s, RunFailed(FailureKind.RUN_TIMEOUT, message)
        message = f"A step took longer than the {self.step_timeout_s:g} s allowed."
        return self.step_timeout_s, RunFailed(FailureKind.STEP_TIMEOUT, message)


class StepTimer:
    """Seconds that a step may take. It stands still while the step waits for something that is shared.

    Whoever waits for a place among those who may call a language model is not slow. All methods belong to
    the loop's thread.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._began = time.monotonic()
        self._waited_s = 0.0
        self._waiting_since: float | None = None

    def remaining_s(self) -> float:
        """Seconds left; below 0 when it is used up."""
        now = self._waiting_since if self._waiting_since is not None else time.monotonic()
        return self._limit_s - (now - self._began - self._waited_s)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in the block does not count. Not to be nested."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waited_s += time.monotonic() - self._waiting_since
            self._waiting_since = None


_current: ContextVar[StepTimer | None] = ContextVar("step_timer", default=None)


def start_timer(limit_s: float) -> StepTimer:
    """For the step that is started next, in this context."""
    timer = StepTimer(limit_s)
    _current.set(timer)
    return timer


def current_timer() -> StepTimer:
    """Of the step that the code at hand works for; without one, a day's."""
    return _current.get() or StepTimer(86_400)
