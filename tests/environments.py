"""Environments in tests: used by a test itself, or by a simulated person."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from understudy.domain.simulation import Action, Assignment, Decision, Json, Observation, Person, Turn
from understudy.domain.success import succeeded
from understudy.domain.typed_text import TypedText
from understudy.environments import Environment
from understudy.minds.heuristic import HeuristicMind
from understudy.plugins.url_patterns import matches

T = TypeVar("T")
E = TypeVar("E", bound=Environment)


def stored(value: Any) -> Any:
    """`value` as it comes out of the store."""
    return json.loads(json.dumps(value, allow_nan=False))


async def use(environment: E, scene: Callable[[E], Awaitable[T]], snapshot: Json | None = None) -> T:
    """Plays the scene in the environment, opened or restored from `snapshot`; closes it twice."""
    try:
        await (environment.restore(snapshot) if snapshot else environment.open())
        return await scene(environment)
    finally:
        await environment.close()
        await environment.close()


async def act(environment: Environment, kind: str, label: str = "", value: Any = None) -> Observation:
    """Acts on the element with this label; what is seen then."""
    elements = environment.observe().elements
    number = next(element.number for element in elements if element.label == label) if label else None
    await environment.act(Action(kind, number, label, value))
    return environment.observe()


@dataclass
class Journey:
    """The decisions of one person in an environment, and the state after them."""

    decisions: list[Decision] = field(default_factory=list)
    memory: Json = field(default_factory=dict)
    snapshot: Json = field(default_factory=dict)
    typed: TypedText = field(default_factory=TypedText)
    last: Observation = field(default_factory=lambda: Observation("", ""))
    #: Kind of the last action, `succeeded`, or `cap`.
    end: str = "cap"

    @property
    def actions(self) -> list[Action]:
        return [decision.action for decision in self.decisions]

    @property
    def kinds(self) -> list[str]:
        return [action.kind for action in self.actions]


async def simulate(
    environment: Environment,
    person: Person,
    assignment: Assignment,
    *,
    cap: int = 20,
    max_steps: int = 1_000,
    seed: int = 1,
    source: Journey | None = None,
    instruction: str | None = None,
) -> Journey:
    """The steps of a worker without its store; `source`: the journey to extend."""
    journey = Journey(memory=source.memory, typed=source.typed) if source else Journey()

    async def steps(environment: Environment) -> Journey:
        for step in range(min(cap, max_steps)):
            turn = Turn(
                person,
                assignment,
                environment.observe(),
                instruction=instruction,
                resumed=source is not None and step == 0,
                memory=journey.memory,
                seed=seed,
                remaining=cap - step,
            )
            decision = await HeuristicMind().decide(turn)
            journey.memory = stored(decision.memory)
            journey.decisions.append(decision)
            await environment.act(decision.action)
            journey.typed = journey.typed.after(decision.action, turn.observation, environment.observe())
            if succeeded(assignment.success, environment.observe(), journey.typed, matches):
                journey.end = "succeeded"
                break
            if environment.observe().over or decision.action.kind in {"finish", "give_up"}:
                journey.end = decision.action.kind
                break
        journey.last, journey.snapshot = environment.observe(), stored(environment.snapshot())
        return journey

    return await use(environment, steps, source.snapshot if source else None)
