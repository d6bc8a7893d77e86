"""A run: what it is given when it is claimed, and what each of its steps yields."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from understudy.domain.lifecycle import Outcome
from understudy.domain.simulation import Usage


class RunSpec(NamedTuple):
    """What a run works with: the person, the assignment, what is acted on, and the limits."""

    name: str
    age: int
    country: str
    language: str
    traits: dict[str, Any]
    bio: str
    assignment: dict[str, Any]
    content: dict[str, Any]
    mind: str
    step_timeout_s: float
    run_timeout_s: float
    modality: str


@dataclass(frozen=True, slots=True)
class Step:
    """One interaction, ready to be committed, with the state to go on from."""

    index: int
    observation: Mapping[str, Any]
    thought: str
    action: Mapping[str, Any]
    sentiment: float
    result: Mapping[str, Any]
    started_at: datetime
    duration_ms: int
    state: Mapping[str, Any]
    #: Set on the last one: the participant completes together with it.
    ends: bool = False
    outcome: Outcome | None = None
    #: What asking a language model took; None when none was asked.
    usage: Usage | None = None
