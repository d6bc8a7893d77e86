"""Decisions that a model wrote in many forms, and helpful errors for malformed ones."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from understudy.domain.simulation import Action, Element, Observation
from understudy.models.answer import InvalidDecision, parse_answer, schema_of

ELEMENTS = (
    *(Element(1, "link", "Mugs", href="http://shop.test/mugs"), Element(2, "text", "Search")),
    *(Element(3, "button", "Search"), Element(4, "checkbox", "I agree")),
)
PAGE = Observation("http://shop.test/", "Shop", elements=ELEMENTS, status=200)


def written(kind: str = "follow", element: Any = 1, value: Any = None, **more: Any) -> dict[str, Any]:
    action = {"kind": kind, "element": element, "value": value}
    return {"thought": "Mugs!", "action": action, "sentiment": 0.5, "note": "", **more}


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "```json\n{}\n```",
        "Sure! Here is what I do:\n{}\nI hope that helps.",
        '<think>Maybe {{"action": "press"}}? No.</think>\n{}',
        '{{"unrelated": 1}} {}',
    ],
)
def test_a_decision_is_found_among_other_text(text: str) -> None:
    answer = parse_answer(text.format(json.dumps(written())), PAGE)
    assert answer.action == Action("follow", 1, "Mugs")
    assert (answer.thought, answer.sentiment) == ("Mugs!", 0.5)


def test_a_flat_action_will_do() -> None:
    flat = {"thought": "Mugs!", "action": "fill", "element": "[2]", "value": 7, "sentiment": 0}
    assert parse_answer(json.dumps(flat), PAGE).action == Action("fill", 2, "Search", "7")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("", "no complete JSON object"),
        ('{"thought": "Mugs!", "action": {"kind": "fol', "no complete JSON object"),
        ("[1, 2]", "no complete JSON object"),
        ('{"action": ' * 100_000, "no complete JSON object"),
        ('{"thought": "Mugs!"}', 'has no "action"'),
        (written("fly"), "must be one of follow, fill"),
        (written("follow", 2), "must be the number of a link: 1."),
        (written("follow", 99), "must be the number of a link: 1."),
        (written("follow", True), "must be the number of a link: 1."),
        (written("follow", None), "must be the number of a link: 1."),
        (written("choose"), "of a select or radio: none here."),
        (written("fill", 2), "must be the text to fill"),
        (written("fill", 2, ["a"]), "must be a text or null"),
        (written(sentiment="good"), '"sentiment" must be a number'),
        (written(sentiment=True), '"sentiment" must be a number'),
        ('{"thought": "a", "action": {"kind": "back"}, "sentiment": NaN}', '"sentiment" must be a number'),
        (written(thought=" "), '"thought" must be a text'),
        (written(note=3), '"note" must be a text'),
        ({"thought": "a", "action": 3, "sentiment": 0}, '"action" must be an object'),
    ],
)
def test_a_malformed_decision_is_an_error(wrong: Any, said: str) -> None:
    with pytest.raises(InvalidDecision) as misread:
        parse_answer(wrong if isinstance(wrong, str) else json.dumps(wrong), PAGE)
    assert said in str(misread.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400])
def test_a_number_that_no_store_accepts_is_an_error_that_names_the_field(number: str) -> None:
    question = Element(1, "radio", "Which?", options=("A", "B", "none"))
    seen = Observation(url="", title="Which?", elements=(question,), actions=("read", "answer"), status=200)
    opinion = f'{{"pick": "A", "ratings": {{"A": {number}}}, "comment": ""}}'
    texts = {
        f'{{"thought": "a", "action": {{"kind": "answer", "value": {opinion}}}, "sentiment": 0}}': "at 'A' must be",
        f'{{"thought": "a", "action": {{"kind": "read"}}, "sentiment": {number}}}': '"sentiment" must be a number',
    }
    for text, said in texts.items():
        with pytest.raises(InvalidDecision, match=said):
            parse_answer(text, seen)
    fill = f'{{"thought": "a", "action": {{"kind": "fill", "element": 2, "value": {number}}}, "sentiment": 0}}'
    with pytest.raises(InvalidDecision, match="must be a text or null"):
        parse_answer(fill, PAGE)
    many_digits = json.dumps(written("follow", "9" * 5_000))
    with pytest.raises(InvalidDecision, match="must be the number of a link"):
        parse_answer(many_digits, PAGE)


def test_sentiment_is_clamped() -> None:
    assert parse_answer(json.dumps(written(sentiment=40)), PAGE).sentiment == 1


TEXTS = st.text(max_size=300) | st.from_regex(r"(\{\"action\": |\{|\[|\"|\}|\]|<think>){1,60}")
# Loads what it needs now: pytest parses each module that it loads, which Python 3.11 cannot do deep in a test.
TEXTS.validate()


@given(TEXTS)
def test_other_text_is_an_error(text: str) -> None:
    with pytest.raises(InvalidDecision):
        parse_answer(text, PAGE)


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a schema that describe objects."""
    if schema.get("type") == "object":
        yield schema
        for inner in schema["properties"].values():
            yield from objects(inner)


def test_the_schema_takes_decisions_and_is_strict() -> None:
    schema = schema_of(PAGE)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    decisions = [written(), written("back", None), written("fly"), written(element=5)]
    assert list(map(validator.is_valid, decisions)) == [True, True, False, False]
    # Strict servers want all properties required and no others.
    assert all(part["additionalProperties"] is False for part in objects(schema))
    assert all(part["required"] == list(part["properties"]) for part in objects(schema))


def test_the_schema_of_a_page_of_hundreds_of_elements_is_small() -> None:
    links = tuple(Element(number, "link", "Mug") for number in range(1, 1_000))
    schema = schema_of(Observation(url="", title="Mugs", elements=links, status=200))
    assert Draft202012Validator(schema).is_valid(written(element=999))
    assert len(json.dumps(schema)) < 1_000


def test_an_answer_to_a_question_has_ratings() -> None:
    question = Element(1, "radio", "Which?", options=("A", "B", "none"))
    seen = Observation(url="", title="Which?", elements=(question,), actions=("read", "answer"), status=200)
    opinion = {"pick": "A", "ratings": {"A": 5, "B": 2}, "comment": "Nicer."}
    answer = written("answer", None, opinion)
    assert Draft202012Validator(schema_of(seen)).is_valid(answer)
    assert parse_answer(json.dumps(answer), seen).action == Action("answer", value=opinion)
