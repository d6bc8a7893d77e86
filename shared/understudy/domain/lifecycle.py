"""The life of a participant: the one list of statuses and of the moves between them.

The store builds the guard of every write from `TRANSITIONS`, so a move that is not listed here cannot be
written. Source: contract section 2.
"""

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """Where a participant stands. No other status exists."""

    DRAFT = "draft"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How a completed participant ended; null where none of these holds."""

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
    """What can happen to a participant."""

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
    # A lost or drained worker gives its participants back; the same row goes on from its last interaction.
    TransitionKind.RELEASE: Transition(frozenset({Status.RUNNING}), Status.PENDING),
    TransitionKind.CANCEL: Transition(frozenset({Status.PENDING, Status.RUNNING}), Status.CANCELLED),
}

_LEFT = frozenset[Status]().union(*(move.sources for move in TRANSITIONS.values()))

#: Statuses that a move reaches and none leaves.
TERMINAL = frozenset(move.target for move in TRANSITIONS.values()) - _LEFT

#: What a cancel reaches.
ACTIVE = TRANSITIONS[TransitionKind.CANCEL].sources
