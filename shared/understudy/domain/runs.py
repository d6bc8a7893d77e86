"""A run: its specification at the claim, and the result of each step."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from understudy.domain.lifecycle import Outcome
from understudy.domain.simulation import Usage


class RunSpec(NamedTuple):
    """The input of a run: the person, the assignment, the content, and the limits."""

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
    #: Name of the participant's workspace.
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One interaction to commit, with the state to resume from."""

    index: int
    observation: Mapping[str, Any]
    thought: str
    action: Mapping[str, Any]
    sentiment: float
    result: Mapping[str, Any]
    started_at: datetime
    duration_ms: int
    state: Mapping[str, Any]
    #: Set on the last step: the participant completes in the same transaction.
    ends: bool = False
    outcome: Outcome | None = None
    #: Usage of language models; None if the step called none.
    usage: Usage | None = None
