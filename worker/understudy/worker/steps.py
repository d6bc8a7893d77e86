"""Executes the steps of a person in an environment, independent of claims, stores and queues."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from understudy.domain.accessibility import AccessibilityNeeds
from understudy.domain.addresses import AllowedAddresses
from understudy.domain.json_values import is_finite_number, storable
from understudy.domain.lifecycle import Outcome
from understudy.domain.runs import RunSpec, Step
from understudy.domain.simulation import Assignment, Decision, Observation, Person, Turn
from understudy.domain.success import succeeded, success_from_json
from understudy.domain.text import sanitize
from understudy.domain.typed_text import TypedText
from understudy.environments import Environment
from understudy.minds import Mind
from understudy.plugins.allowed_workspaces import Workspace
from understudy.plugins.registry import create_mind, environments
from understudy.plugins.secrets import Secrets
from understudy.plugins.url_patterns import matches

#: Past interactions that a mind receives.
HISTORY_LENGTH = 20
#: Characters of a page's text that are stored with an interaction.
STORED_TEXT_LENGTH = 1_000
#: The same for chat messages, which transcripts show in full.
STORED_NEWS_LENGTH = 8_000

#: Actions that end a run, with their outcomes.
_FINAL_ACTIONS = {"finish": None, "give_up": Outcome.GAVE_UP}


class ClaimedRun(NamedTuple):
    """All data that a session needs, read in the transaction of the claim."""

    #: The participant's row.
    row: Any
    spec: RunSpec
    #: The checkpoint to continue from; None: start from the beginning.
    state: Mapping[str, Any] | None
    #: The latest interactions over the lineage, oldest first.
    history: Sequence[Any]
    #: Instructions of the lineage with their indexes; read only if the participant has one.
    instructions: Sequence[tuple[int, str]] = ()


class SimulationSession:
    """Executes one step at a time. A step may be cancelled at any await; steps must not overlap."""

    def __init__(self, claimed: ClaimedRun, *, addresses: AllowedAddresses, secrets: Secrets | None = None) -> None:
        row, spec = claimed.row, claimed.spec
        person = Person(
            name=spec.name,
            age=spec.age,
            country=spec.country,
            language=spec.language,
            traits=spec.traits,
            bio=spec.bio,
        )
        success = success_from_json(spec.assignment.get("success"))
        self._assignment = Assignment(spec.assignment["task"], success)
        # Read once: a look at a row costs more than one at an object.
        self._max_interactions: int = row.max_interactions
        self._branched_at: int | None = None if row.extended_from is None else row.branched_at
        self._create_turn = partial(
            Turn,
            person=person,
            assignment=self._assignment,
            instruction=row.instruction,
            instructions=claimed.instructions,
            seed=row.seed,
            workspace=row.workspace_id,
            workspace_name=spec.workspace,
            study=row.study_id or row.ask_id,
        )
        self._count: int = row.interaction_count
        self._state = claimed.state
        self._memory: Mapping[str, Any] = (claimed.state or {}).get("memory", {})
        self._history = deque((_history_entry(past, past.ordinal) for past in claimed.history), maxlen=HISTORY_LENGTH)
        self._typed = self._typed_before()
        self._mind: Mind = create_mind(spec.mind)
        factory = environments(spec.modality)[spec.content["environment"]].load()
        # Environments receive only the options that they declare.
        options: dict[str, Any] = {}
        if getattr(factory, "takes_secrets", False):
            options["secrets"] = (secrets or Secrets()).for_run(Workspace(row.workspace_id, spec.workspace))
        if getattr(factory, "takes_person", False):
            options["person"] = person
        if getattr(factory, "takes_access", False):
            options["access"] = AccessibilityNeeds.from_traits(spec.traits)
        if getattr(factory, "takes_addresses", False):
            options["addresses"] = addresses
        self._environment: Environment = factory(spec.content, allow_private_hosts=addresses.all_private, **options)
        self._is_open = False
        #: Size of what the latest step stores; see `check_json`.
        self.stored_size = 0

    @property
    def remaining(self) -> int:
        """Returns the interactions left under the cap."""
        return self._max_interactions - self._count

    async def step(self) -> Step:
        """Observes, decides and acts; returns the step. Raises what a plug-in raises."""
        started_at, began = datetime.now(UTC), time.monotonic()
        await self._open_environment()
        observation = self._observe()
        decision = _expect_type(await self._mind.decide(self._turn(observation)), Decision)
        stored = _StoredDecision(decision)
        last = decision.action.kind in _FINAL_ACTIONS
        if not last:
            await self._environment.act(decision.action)
        result = self._observe()
        last = last or result.over
        typed = self._typed.after(decision.action, observation, result)
        done = succeeded(self._assignment.success, result, typed, matches)
        outcome = Outcome.SUCCEEDED if done else _FINAL_ACTIONS.get(decision.action.kind)
        ends = done or last or self.remaining == 1
        if ends and not done and not last:
            outcome = Outcome.CAP_REACHED
        seen, seen_size = storable(_stored(observation), "the environment's observation")
        led_to, result_size = storable(_result(result), "the environment's observation")
        snapshot, snapshot_size = storable(self._environment.snapshot(), "the environment's snapshot")
        self.stored_size = seen_size + result_size + snapshot_size
        return Step(
            index=self._count,
            observation=seen,
            thought=sanitize(decision.thought),
            action=stored.action,
            sentiment=min(max(float(decision.sentiment), -1.0), 1.0),
            result=led_to,
            started_at=started_at,
            duration_ms=round((time.monotonic() - began) * 1000),
            state={"environment": snapshot, "memory": stored.memory, "typed": typed.to_json()},
            ends=ends,
            outcome=outcome,
            usage=decision.usage,
        )

    def remember(self, step: Step) -> None:
        """Continues from `step`, which is committed."""
        self._count += 1
        self._memory = step.state["memory"]
        self._typed = TypedText.from_json(step.state["typed"])
        self._history.append(_history_entry(step, step.index))

    async def close(self) -> None:
        """Releases the resources of the environment."""
        await self._environment.close()

    async def _open_environment(self) -> None:
        if self._is_open:
            return
        if self._state is None:
            await self._environment.open()
        else:
            await self._environment.restore(self._state["environment"])
        self._is_open = True

    def _typed_before(self) -> TypedText:
        """Returns what the lineage typed; its checkpoint has no typed text if an older worker stored it."""
        stored = (self._state or {}).get("typed")
        return TypedText.of_history(self._history) if stored is None else TypedText.from_json(stored)

    def _observe(self) -> Observation:
        page: Observation = _expect_type(self._environment.observe(), Observation)
        return page

    def _turn(self, observation: Observation) -> Turn:
        return self._create_turn(
            observation=observation,
            history=tuple(self._history),
            resumed=self._count == self._branched_at,
            memory=self._memory,
            remaining=self.remaining,
            index=self._count,
        )


def _expect_type(value: Any, kind: type) -> Any:
    """Returns `value` if it is a `kind`; otherwise raises TypeError with its type."""
    if not isinstance(value, kind):
        raise TypeError(f"the plug-in must return {kind.__name__}; got {type(value).__name__}")
    return value


class _StoredDecision:
    """The parts of a mind's decision as they are stored.

    Raises ValueError or TypeError that names the part that cannot be stored, before anything is done.
    """

    def __init__(self, decision: Decision) -> None:
        if not is_finite_number(decision.sentiment):
            raise ValueError(f"the mind's sentiment must be a number from -1 to 1; got {decision.sentiment!r:.50}")
        if not isinstance(decision.thought, str):
            raise TypeError(f"the mind's thought must be a text; got {type(decision.thought).__name__}")
        action = decision.action
        value, _ = storable(action.value, "the mind's action.value")
        # A tuple, so that an error names the action and none of our words.
        (kind, element, target), _ = storable((action.kind, action.element, action.target), "the mind's action")
        parts = {"kind": kind, "element": element, "target": target, "value": value}
        self.action = {name: part for name, part in parts.items() if part is not None}
        self.memory, _ = storable(decision.memory, "the mind's memory")
        if decision.usage is not None:
            storable(asdict(decision.usage), "the mind's usage")


def _headline(page: Observation) -> dict[str, Any]:
    return {"url": page.url, "title": page.title, "status": page.status, "problem": page.problem}


def _stored(page: Observation) -> dict[str, Any]:
    """Returns the stored part of an observation: enough to read the journey, not the whole page."""
    text = page.text[:STORED_TEXT_LENGTH] if page.news is None else page.news[:STORED_NEWS_LENGTH]
    return _headline(page) | {"headings": list(page.headings), "text": text}


def _result(page: Observation) -> dict[str, Any]:
    """Returns the result of an action; in a chat with the reply, because no observation may follow."""
    reply = {} if page.news is None else {"text": page.news[:STORED_NEWS_LENGTH]}
    return _headline(page) | reply


def _history_entry(past: Any, index: int) -> dict[str, Any]:
    """Returns a stored interaction or a step in the form that minds receive."""
    return {
        "index": index,
        "thought": past.thought,
        "action": past.action,
        "sentiment": past.sentiment,
        "observation": {name: past.observation.get(name) for name in ("url", "title", "problem", "text")},
        "result": past.result,
    }
