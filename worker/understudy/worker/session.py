"""A person's walk through an environment: what a step is. Knows nothing of claims, stores and queues."""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

from understudy.domain.accessibility import AccessibilityNeeds
from understudy.domain.lifecycle import Outcome
from understudy.domain.runs import RunSpec, Step
from understudy.domain.simulation import (
    Action,
    Assignment,
    Decision,
    Observation,
    Person,
    Success,
    Turn,
    succeeded,
)
from understudy.domain.text import sanitize
from understudy.environments import Environment
from understudy.minds import Mind
from understudy.plugins.registry import create_mind, environments
from understudy.plugins.secrets import Secrets

#: Interactions of the past that a mind is shown.
HISTORY_LENGTH = 20
#: Characters of a page's text that are kept with an interaction.
STORED_TEXT_LENGTH = 1_000
#: And of what was said in a chat: it is told whole in transcripts.
STORED_NEWS_LENGTH = 8_000

#: Actions that end a walk, and what they make of it.
_FINAL_ACTIONS = {"finish": None, "give_up": Outcome.GAVE_UP}


class ClaimedRun(NamedTuple):
    """What a claim yields: all that a walk needs, read in the claim's transaction."""

    #: The participant's row.
    row: Any
    surroundings: RunSpec
    #: The state to go on from; None: from the start.
    state: Mapping[str, Any] | None
    #: The latest interactions over the lineage, oldest first.
    history: Sequence[Any]
    #: Instructions of the lineage and where they were given; read only for those who were given one.
    instructions: Sequence[tuple[int, str]] = ()


class SimulationSession:
    """Takes one step after the other. Not safe to step twice at once; may be cancelled at any await."""

    def __init__(
        self, claimed: ClaimedRun, *, allow_private_hosts: bool, secrets: Secrets | None = None
    ) -> None:
        row, around = claimed.row, claimed.surroundings
        self._person = Person(
            name=around.name,
            age=around.age,
            country=around.country,
            language=around.language,
            traits=around.traits,
            bio=around.bio,
        )
        success = around.assignment.get("success")
        self._assignment = Assignment(around.assignment["task"], Success(**success) if success else None)
        self._row = row
        self._count: int = row.interaction_count
        self._state = claimed.state
        self._memory: Mapping[str, Any] = (claimed.state or {}).get("memory", {})
        self._history = deque(
            (_history_entry(past, past.ordinal) for past in claimed.history), maxlen=HISTORY_LENGTH
        )
        self._instructions = claimed.instructions
        self._mind: Mind = create_mind(around.mind)
        factory = environments(around.modality)[around.content["environment"]].load()
        # Environments are handed what they ask for.
        more: dict[str, Any] = {}
        if getattr(factory, "takes_secrets", False):
            more["secrets"] = secrets
        if getattr(factory, "takes_access", False):
            more["access"] = AccessibilityNeeds.of(around.traits)
        self._environment: Environment = factory(
            around.content, allow_private_hosts=allow_private_hosts, **more
        )
        self._entered = False

    @property
    def remaining(self) -> int:
        """Interactions left under the cap."""
        return int(self._row.max_interactions) - self._count

    async def step(self) -> Step:
        """Observe, decide, act. What a plug-in raises comes through."""
        started_at, began = datetime.now(UTC), time.monotonic()
        await self._open_environment()
        seen = _expect_type(self._environment.observe(), Observation)
        decision = _expect_type(await self._mind.decide(self._turn(seen)), Decision)
        if not math.isfinite(decision.sentiment):
            raise ValueError(f"the mind's sentiment is {decision.sentiment}, not a number from -1 to 1")
        last = decision.action.kind in _FINAL_ACTIONS
        if not last:
            await self._environment.act(decision.action)
        now_seen = _expect_type(self._environment.observe(), Observation)
        last = last or now_seen.over
        done = succeeded(self._assignment.success, now_seen)
        outcome = Outcome.SUCCEEDED if done else _FINAL_ACTIONS.get(decision.action.kind)
        ends = done or last or self.remaining == 1
        if ends and not done and not last:
            outcome = Outcome.CAP_REACHED
        return Step(
            index=self._count,
            observation=sanitize(_stored(seen)),
            thought=sanitize(decision.thought),
            action=sanitize(_stored_action(decision.action)),
            sentiment=min(max(float(decision.sentiment), -1.0), 1.0),
            result=sanitize(_result(now_seen)),
            started_at=started_at,
            duration_ms=round((time.monotonic() - began) * 1000),
            state=sanitize({"environment": self._environment.snapshot(), "memory": decision.memory}),
            ends=ends,
            outcome=outcome,
            usage=decision.usage,
        )

    def remember(self, step: Step) -> None:
        """`step` is committed: go on from it."""
        self._count += 1
        self._memory = step.state["memory"]
        self._history.append(_history_entry(step, step.index))

    async def close(self) -> None:
        """Give back what the environment holds."""
        await self._environment.close()

    async def _open_environment(self) -> None:
        if self._entered:
            return
        if self._state is None:
            await self._environment.open()
        else:
            await self._environment.restore(self._state["environment"])
        self._entered = True

    def _turn(self, seen: Observation) -> Turn:
        return Turn(
            person=self._person,
            assignment=self._assignment,
            observation=seen,
            history=tuple(self._history),
            instruction=self._row.instruction,
            resumed=self._row.extended_from is not None and self._count == self._row.branched_at,
            memory=self._memory,
            seed=self._row.seed,
            remaining=self.remaining,
            index=self._count,
            instructions=self._instructions,
            workspace=self._row.workspace_id,
            study=self._row.study_id or self._row.ask_id,
        )


def _expect_type(value: Any, kind: type) -> Any:
    """A plug-in's answer is what its protocol says, or an error that names what it is."""
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, the plug-in answered {type(value).__name__}")
    return value


def _headline(seen: Observation) -> dict[str, Any]:
    return {"url": seen.url, "title": seen.title, "status": seen.status, "problem": seen.problem}


def _stored(seen: Observation) -> dict[str, Any]:
    """What is kept of an observation: enough to read the journey, not the whole page."""
    text = seen.text[:STORED_TEXT_LENGTH] if seen.news is None else seen.news[:STORED_NEWS_LENGTH]
    return _headline(seen) | {"headings": list(seen.headings), "text": text}


def _result(seen: Observation) -> dict[str, Any]:
    """Where an action led; in a chat what was replied too, as there may be no next observation."""
    said = {} if seen.news is None else {"text": seen.news[:STORED_NEWS_LENGTH]}
    return _headline(seen) | said


def _stored_action(action: Action) -> dict[str, Any]:
    return {name: value for name, value in asdict(action).items() if value is not None}


def _history_entry(past: Any, index: int) -> dict[str, Any]:
    """A row or step as minds are shown it."""
    return {
        "index": index,
        "thought": past.thought,
        "action": past.action,
        "sentiment": past.sentiment,
        "observation": {name: past.observation.get(name) for name in ("url", "title", "problem", "text")},
        "result": past.result,
    }
