"""What a model wrote, read with patience; what is no decision is told in words that help."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from understudy.domain.simulation import Action, Element, Observation
from understudy.models.answer import InvalidDecision, parse_answer, schema_of

PAGE = Observation(
    url="http://shop.test/",
    title="Shop",
    elements=(
        Element(1, "link", "Mugs", href="http://shop.test/mugs"),
        Element(2, "text", "Search"),
        Element(3, "button", "Search"),
        Element(4, "checkbox", "I agree"),
    ),
    status=200,
)


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
def test_a_decision_is_found_wherever_it_stands(text: str) -> None:
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
def test_what_is_no_decision_is_told(wrong: Any, said: str) -> None:
    with pytest.raises(InvalidDecision) as misread:
        parse_answer(wrong if isinstance(wrong, str) else json.dumps(wrong), PAGE)
    assert said in str(misread.value)


def test_sentiment_beyond_the_scale_is_its_end() -> None:
    assert parse_answer(json.dumps(written(sentiment=40)), PAGE).sentiment == 1


@given(st.text(max_size=300) | st.from_regex(r"(\{\"action\": |\{|\[|\"|\}|\]|<think>){1,60}"))
def test_any_text_is_a_decision_or_none(text: str) -> None:
    with pytest.raises(InvalidDecision):
        parse_answer(text, PAGE)


def test_deep_nesting_is_no_decision() -> None:
    with pytest.raises(InvalidDecision):
        parse_answer('{"action": ' * 100_000, PAGE)


def test_the_schema_takes_decisions_and_is_strict() -> None:
    schema = schema_of(PAGE)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(written())
    assert validator.is_valid(written("back", None))
    assert not validator.is_valid(written("fly"))
    assert not validator.is_valid(written(element=5))

    def check(part: dict[str, Any]) -> None:
        # What strict servers ask for.
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
            for inner in part["properties"].values():
                check(inner)

    check(schema)


def test_a_page_of_hundreds_of_things_is_not_listed() -> None:
    links = tuple(Element(number, "link", "Mug") for number in range(1, 1_000))
    schema = schema_of(Observation(url="", title="Mugs", elements=links, status=200))
    assert Draft202012Validator(schema).is_valid(written(element=999))
    assert len(json.dumps(schema)) < 1_000


def test_an_answer_to_a_question_is_rated() -> None:
    asked = Observation(
        url="",
        title="Which?",
        elements=(Element(1, "radio", "Which?", options=("A", "B", "none")),),
        actions=("read", "answer"),
        status=200,
    )
    opinion = {"pick": "A", "ratings": {"A": 5, "B": 2}, "comment": "Nicer."}
    assert Draft202012Validator(schema_of(asked)).is_valid(written("answer", None, opinion))
    assert parse_answer(json.dumps(written("answer", None, opinion)), asked).action == Action("answer", value=opinion)
