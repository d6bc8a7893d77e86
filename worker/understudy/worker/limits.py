"""How long a run's steps may take, and what it is when a run cannot go on."""

import time
from typing import NamedTuple

from shared.domain.lifecycle import FailureKind
from shared.domain.simulation import Usage
from worker.walk import Claimed


class Failed(Exception):
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
    def of(cls, claimed: Claimed) -> "Limits":
        around = claimed.surroundings
        left_s = around.run_timeout_s - claimed.row.claimed_ms / 1000
        return cls(around.step_timeout_s, around.run_timeout_s, time.monotonic() + left_s)

    def now(self) -> tuple[float, Failed]:
        """Seconds the next step may take, and the failure if it takes longer."""
        left_s = max(self.deadline - time.monotonic(), 0)
        if left_s < self.step_timeout_s:
            message = f"The run took longer than the {self.run_timeout_s:g} s allowed."
            return left_s, Failed(FailureKind.RUN_TIMEOUT, message)
        message = f"A step took longer than the {self.step_timeout_s:g} s allowed."
        return self.step_timeout_s, Failed(FailureKind.STEP_TIMEOUT, message)
