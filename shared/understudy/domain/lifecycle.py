"""The lifecycle of a participant: the only list of statuses and of the transitions between them.

The store builds the guard of every write from `TRANSITIONS`, so it cannot write any other transition. Source:
contract section 2.
"""

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """The status of a participant. No other status exists."""

    DRAFT = "draft"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How a completed participant ended; null if none of these applies."""

    SUCCEEDED = "succeeded"
    GAVE_UP = "gave_up"
    CAP_REACHED = "cap_reached"


class FailureKind(StrEnum):
    """Why a participant failed (`error_kind`)."""

    ENVIRONMENT_ERROR = "environment_error"
    SIMULATOR_ERROR = "simulator_error"
    STEP_TIMEOUT = "step_timeout"
    RUN_TIMEOUT = "run_timeout"
    STALE_WORKER = "stale_worker"


class TransitionKind(StrEnum):
    """The kinds of transitions."""

    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"
    CANCEL = "cancel"


class Transition(NamedTuple):
    sources: frozenset[Status]
    target: Status


TRANSITIONS: dict[TransitionKind, Transition] = {
    TransitionKind.CLAIM: Transition(frozenset({Status.PENDING}), Status.RUNNING),
    TransitionKind.COMPLETE: Transition(frozenset({Status.RUNNING}), Status.COMPLETED),
    TransitionKind.FAIL: Transition(frozenset({Status.RUNNING}), Status.FAILED),
    # A drained worker releases the row, or the sweeper recovers it from a lost one; the same row resumes.
    TransitionKind.RELEASE: Transition(frozenset({Status.RUNNING}), Status.PENDING),
    TransitionKind.CANCEL: Transition(frozenset({Status.PENDING, Status.RUNNING}), Status.CANCELLED),
}

_SOURCES = frozenset[Status]().union(*(transition.sources for transition in TRANSITIONS.values()))

#: Statuses that are the target of a transition and the source of none.
TERMINAL = frozenset(transition.target for transition in TRANSITIONS.values()) - _SOURCES

#: Statuses that a cancel changes.
ACTIVE = TRANSITIONS[TransitionKind.CANCEL].sources
