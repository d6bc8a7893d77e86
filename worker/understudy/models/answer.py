"""The answer of a language model: its JSON Schema, and a tolerant parser for what the model wrote."""

import json
import re
from dataclasses import dataclass
from typing import Any, cast

from understudy.domain.json_values import check_json, is_finite_number
from understudy.domain.simulation import Action, Element, Observation
from understudy.models.written_objects import MAX_LENGTH, UnfinishedObject, without_thoughts, written_objects

#: Actions of an observation that lists none: a web page.
WEB_ACTIONS = ("follow", "fill", "choose", "check", "press", "back", "wait")
ENDINGS = ("finish", "give_up")
#: Actions that name an element, and the kinds of element they accept.
ELEMENTS = {
    "follow": ("link",),
    "fill": ("text", "textarea"),
    "choose": ("select", "radio"),
    "check": ("checkbox",),
    "press": ("button",),
}
#: Actions that need a text as value.
_TEXTS = ("fill", "choose", "say")

MAX_THOUGHT_LENGTH = 4_000
MAX_VALUE_LENGTH = 8_000
MAX_NOTE_LENGTH = 1_000
#: Maximum length of an enum: servers that enforce a schema limit it.
_MAX_LISTED = 250
#: Names of objects that contain a decision: calls of tools, and the name of the schema. Maximum depth.
_WRAPPERS = ("function", "arguments", "parameters", "input", "decision", "response", "answer", "output", "result")
_MAX_WRAPPERS = 4
#: Floats above are not exact.
_MAX_WHOLE = 2**53
#: An element's number as a text. Numbers of pages have fewer digits.
_NUMBER = re.compile(r"\s*[\[#(]?\s*(\d{1,9})(?:\.0{1,9})?\s*[\])]?\s*")


class InvalidDecision(Exception):
    """The answer is not a valid decision. The message says what is wrong, addressed to the model."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision as a model writes it."""

    thought: str
    action: Action
    sentiment: float
    note: str


def kinds_of(seen: Observation) -> tuple[str, ...]:
    """Returns the kinds of action that this observation allows."""
    return (*(seen.actions or WEB_ACTIONS), *ENDINGS)


def schema_of(seen: Observation) -> dict[str, Any]:
    """Returns the JSON Schema of an answer to this observation. Strict servers require all fields."""
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
    """Returns the schema of an element number. The enum keeps small models from inventing numbers."""
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
    """Returns the schema of the value of `answer`: picks and rates the variants on the page."""
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
    """Returns the decision in a model's text, which may hold more than the JSON. Raises InvalidDecision."""
    found = _find_object(written)
    action = found["action"]
    if isinstance(action, str):
        # The model wrote it flat: {"action": "follow", "element": 3}.
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
    """Returns the last object with an action. A draft that comes before it is none, nor is one in thoughts."""
    whole = _whole(written[:MAX_LENGTH])
    if isinstance(whole, dict) and "action" in whole:
        # Its texts may mention thoughts.
        return whole
    text = whole if isinstance(whole, str) else written[:MAX_LENGTH]
    try:
        found = [_unwrapped(each) for each in written_objects(without_thoughts(text))]
    except UnfinishedObject:
        raise InvalidDecision("The answer has no complete JSON object.") from None
    decisions = [each for each in found if "action" in each]
    if decisions:
        return decisions[-1]
    if found:
        raise InvalidDecision('The JSON object has no "action".')
    raise InvalidDecision("The answer has no complete JSON object.")


def _whole(written: str) -> Any:
    """Returns the text as JSON, or None."""
    try:
        return json.loads(written, strict=False)
    except (ValueError, RecursionError):
        return None


def _unwrapped(found: dict[str, Any]) -> dict[str, Any]:
    """Returns the decision in the form of a call of a tool, or in an object of its own."""
    for _ in range(_MAX_WRAPPERS):
        if "action" in found:
            break
        inner = next((found[name] for name in _WRAPPERS if name in found), None)
        if isinstance(inner, str):
            inner = _whole(inner)
        if not isinstance(inner, dict):
            break
        found = inner
    return found


def _text(found: dict[str, Any], name: str, max_length: int, *, needed: bool) -> str:
    value = found.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value.strip()):
        raise InvalidDecision(f'"{name}" must be a text.')
    return value.strip()[:max_length]


def _read_sentiment(value: object) -> float:
    if not is_finite_number(value):
        raise InvalidDecision('"sentiment" must be a number from -1 to 1.')
    return min(max(float(cast("float", value)), -1.0), 1.0)


def _read_action(found: dict[str, Any], seen: Observation) -> Action:
    kinds = kinds_of(seen)
    kind = found.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise InvalidDecision(f'"action.kind" must be one of {", ".join(kinds)}.')
    element = _read_element(kind, found.get("element"), seen)
    value = found.get("value")
    if kind == "answer":
        if not isinstance(value, dict):
            raise InvalidDecision('"action.value" of an answer must be an object with pick, ratings and comment.')
        try:
            check_json(value, '"action.value"')
        except ValueError as error:
            raise InvalidDecision(f"{error}.") from None
        ratings = value.get("ratings")
        if isinstance(ratings, dict):
            value = value | {"ratings": {label: _whole_number(rating) for label, rating in ratings.items()}}
        return Action(kind, value=value)
    if is_finite_number(value):
        value = str(_whole_number(value))
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


def _whole_number(value: Any) -> Any:
    """Returns 2 for 2.0, as models that calculate write it; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_WHOLE else value


def _read_element(kind: str, number: object, seen: Observation) -> Element | None:
    if kind not in ELEMENTS:
        return None
    fitting = [element for element in seen.elements if element.kind in ELEMENTS[kind]]
    if isinstance(number, str) and (digits := _NUMBER.fullmatch(number)):
        number = int(digits[1])
    element = next((e for e in fitting if e.number == number and not isinstance(number, bool)), None)
    if element is None:
        numbers = ", ".join(str(candidate.number) for candidate in fitting[:40]) or "none here"
        raise InvalidDecision(
            f'"action.element" of {kind} must be the number of a {" or ".join(ELEMENTS[kind])}: {numbers}.'
        )
    return element
