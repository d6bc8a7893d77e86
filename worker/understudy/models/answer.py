"""Answers: what a model is asked to write, and what it wrote, read with patience."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from understudy.domain.simulation import Action, Element, Observation

#: What can be done where nobody says what can be done: on a web page.
WEB_ACTIONS = ("follow", "fill", "choose", "check", "press", "back", "wait")
ENDINGS = ("finish", "give_up")
#: Actions that name an element, and the kinds of element they go with.
ELEMENTS = {
    "follow": ("link",),
    "fill": ("text", "textarea"),
    "choose": ("select", "radio"),
    "check": ("checkbox",),
    "press": ("button",),
}
#: Actions that are nothing without a text.
_TEXTS = ("fill", "choose", "say")

MAX_THOUGHT_LENGTH = 4_000
MAX_VALUE_LENGTH = 8_000
MAX_NOTE_LENGTH = 1_000
#: Of a schema; servers that hold a model to one have a bound for what it lists.
_MAX_LISTED = 250
#: Of an answer as it is written, and of places in it where an object is looked for.
_MAX_LENGTH = 200_000
_MAX_PLACES = 200

_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)


class InvalidDecision(Exception):
    """What was written is no decision; the text says what is wrong, in words for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision as a model writes it."""

    thought: str
    action: Action
    sentiment: float
    note: str


def kinds_of(seen: Observation) -> tuple[str, ...]:
    """Kinds of action that mean something here."""
    return (*(seen.actions or WEB_ACTIONS), *ENDINGS)


def schema_of(seen: Observation) -> dict[str, Any]:
    """The JSON Schema of an answer to this observation; strict servers want all fields required."""
    kinds = kinds_of(seen)
    value: dict[str, Any] = {"type": ["string", "null"]}
    if "answer" in kinds:
        value = {"anyOf": [{"type": "string"}, {"type": "null"}, _opinion(seen)]}
    action = {
        "kind": {"type": "string", "enum": list(kinds)},
        "element": _number(seen),
        "value": value,
    }
    return _object(
        {
            "thought": {"type": "string"},
            "action": _object(action),
            "sentiment": {"type": "number"},
            "note": {"type": "string"},
        }
    )


def _number(seen: Observation) -> dict[str, Any]:
    """A number of the page or null: small models make up others."""
    numbers = [element.number for element in seen.elements]
    listed = {} if len(numbers) > _MAX_LISTED else {"enum": [*numbers, None]}
    return {"type": ["integer", "null"], **listed}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _opinion(seen: Observation) -> dict[str, Any]:
    """The value of `answer`: it picks and rates what the fields on show name."""
    picks = next((e.options for e in seen.elements if e.kind == "radio"), ())
    labels = [label for label in picks if label != "none"]
    rating = {"type": "integer", "minimum": 1, "maximum": 5}
    return _object(
        {
            "pick": {"enum": [*labels, None]},
            "ratings": _object(dict.fromkeys(labels, rating)),
            "comment": {"type": "string"},
        }
    )


def parse_answer(written: str, seen: Observation) -> Answer:
    """The decision in what a model wrote: fenced, prefaced or thought aloud. Raises Misread."""
    found = _find_object(written)
    action = found["action"]
    if isinstance(action, str):
        # Flat: {"action": "follow", "element": 3}.
        action = {"kind": action, "element": found.get("element"), "value": found.get("value")}
    if not isinstance(action, dict):
        raise InvalidDecision('"action" must be an object with kind, element and value.')
    return Answer(
        thought=_text(found, "thought", MAX_THOUGHT_LENGTH, needed=True),
        action=_read_action(action, seen),
        sentiment=_read_sentiment(found.get("sentiment")),
        note=_text(found, "note", MAX_NOTE_LENGTH, needed=False),
    )


def _find_object(written: str) -> dict[str, Any]:
    text = _THINKING.sub("", written[:_MAX_LENGTH])
    best: dict[str, Any] | None = None
    for one in _objects(text):
        if "action" in one:
            return one
        best = best or one
    if best is not None:
        raise InvalidDecision('The JSON object has no "action".')
    raise InvalidDecision("There is no complete JSON object in it.")


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects in a text, from the first on; what is inside one is not looked at again."""
    decoder, start = json.JSONDecoder(), 0
    for _ in range(_MAX_PLACES):
        start = text.find("{", start)
        if start < 0:
            return
        try:
            found, start = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            start += 1
            continue
        if isinstance(found, dict):
            yield found


def _text(found: dict[str, Any], name: str, length: int, *, needed: bool) -> str:
    value = found.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value.strip()):
        raise InvalidDecision(f'"{name}" must be a text.')
    return value.strip()[:length]


def _read_sentiment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidDecision('"sentiment" must be a number from -1 to 1.')
    return min(max(float(value), -1.0), 1.0)


def _read_action(given: dict[str, Any], seen: Observation) -> Action:
    kinds = kinds_of(seen)
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise InvalidDecision(f'"action.kind" must be one of {", ".join(kinds)}.')
    element = _read_element(kind, given.get("element"), seen)
    value = given.get("value")
    if kind == "answer":
        if not isinstance(value, dict):
            raise InvalidDecision(
                '"action.value" of an answer must be an object with pick, ratings and comment.'
            )
        return Action(kind, value=value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise InvalidDecision('"action.value" must be a text or null.')
    if kind in _TEXTS and value is None:
        raise InvalidDecision(f'"action.value" must be the text to {kind}.')
    if kind not in _TEXTS and kind in (*WEB_ACTIONS, *ENDINGS) and kind != "check":
        value = None
    return Action(
        kind,
        element.number if element else None,
        element.label[:200] if element else "",
        value[:MAX_VALUE_LENGTH] if value is not None else None,
    )


def _read_element(kind: str, number: object, seen: Observation) -> Element | None:
    if kind not in ELEMENTS:
        return None
    fitting = [element for element in seen.elements if element.kind in ELEMENTS[kind]]
    if isinstance(number, str) and number.strip("[] ").isdecimal():
        number = int(number.strip("[] "))
    element = next((one for one in fitting if one.number == number and not isinstance(number, bool)), None)
    if element is None:
        there = ", ".join(str(one.number) for one in fitting[:40]) or "none here"
        raise InvalidDecision(
            f'"action.element" of {kind} must be the number of a {" or ".join(ELEMENTS[kind])}: {there}.'
        )
    return element
