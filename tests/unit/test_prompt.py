"""A turn as messages for a model: in order, within the budget, reproducible."""

from dataclasses import replace
from typing import Any

import pytest

from understudy.domain.simulation import Assignment, Element, Observation, Person, Turn
from understudy.models.prompt import compose, estimate_tokens, without_system_messages

TRAITS = {"patience": 0.1, "tech_savviness": 0.9, "accessibility": ["low_vision", "no_pointer"], "mood": "tired"}
ADA = Person("Ada Löve", 36, "GB", "en", TRAITS, "Runs a bookshop.")
ELEMENTS = (Element(1, "link", "Home", href="http://shop.test/"), Element(2, "button", "Add to cart"))
TEXT = "A mug that is blue. " * 20
PAGE = Observation("http://shop.test/p/7", "Blue mug", text=TEXT, elements=ELEMENTS, status=200)


RED = "Look for a red one."


def past(index: int, text: str = "Words of a page. ") -> dict[str, Any]:
    return {
        "index": index,
        "thought": f"thought {index}",
        "action": {"kind": "follow", "element": 1, "target": f"link {index}"},
        "sentiment": 0.1,
        "observation": {"url": f"http://shop.test/{index}", "title": f"Page {index}", "text": text * 10},
        "result": {"problem": ""},
    }


def turn(length: int = 0, *, start: int = 0, **more: Any) -> Turn:
    """At the end of so many turns, of which the first `start` are not known any more."""
    history = tuple(past(index) for index in range(start, length))
    return Turn(ADA, Assignment("Buy a blue mug"), PAGE, history, index=length, **more)


def contents(messages: list[dict[str, str]]) -> str:
    return "\n".join(message["content"] for message in messages)


def test_turns_that_fit_are_told_verbatim_between_the_person_and_the_page() -> None:
    messages = compose(turn(3), 8_000)
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 3, "user"]
    person, first, *_, last = [message["content"] for message in messages]
    traits = ("Ada Löve, 36", "bookshop", "low vision, no pointer", "tired", "very low (0.1", "Buy a blue mug")
    assert [trait for trait in traits if trait not in person] == []
    assert "Words of a page. Words" in first
    assert last.startswith("You see: Blue mug (http://shop.test/p/7)")
    assert '[2] button "Add to cart"' in last


def test_any_history_fits_the_budget_and_is_composed_reproducibly() -> None:
    long = turn(60, start=40, instructions=((45, RED),), instruction=RED)
    budgets = [1_200, 1_500, 2_000, 3_000, 5_000, 8_000]
    prompts = [compose(long, budget) for budget in budgets]
    assert [budget for budget, prompt in zip(budgets, prompts, strict=True) if estimate_tokens(prompt) > budget] == []
    assert prompts == [compose(long, budget) for budget in budgets]


def test_older_turns_are_shortened_and_the_oldest_left_out() -> None:
    messages = compose(turn(60, start=40), 1_200)
    told = contents(messages)
    assert "(42 turns that you hardly remember.)" in messages[1]["content"]
    assert "\n50. on Page 50: follow link 50\n" in told
    assert '"thought 50"' not in told
    assert '"thought 59"' in told
    assert "Page 41" not in told


def test_a_page_beyond_the_budget_is_cut_and_keeps_some_text() -> None:
    links = tuple(Element(number, "link", f"Product {number}", href="http://shop.test/") for number in range(1, 900))
    seen = replace(PAGE, elements=links, text="Words. " * 9_000)
    messages = compose(replace(turn(5), observation=seen), 4_000)
    assert estimate_tokens(messages) <= 4_000
    assert "more further down" in messages[-1]["content"]
    assert "Words. Words." in messages[-1]["content"]


@pytest.mark.parametrize("place", [0, 2, 5])
def test_an_instruction_comes_right_after_its_branch_point(place: int) -> None:
    messages = compose(turn(5, instructions=((place, RED),), instruction=RED), 8_000)
    assert [index for index, message in enumerate(messages) if message["content"] == RED] == [1 + 2 * place]


def test_an_instruction_keeps_its_place_among_shortened_turns() -> None:
    told = turn(60, start=40, instructions=((44, RED),), instruction=RED)
    messages = compose(told, 3_000)
    at = messages.index({"role": "user", "content": RED})
    before, after = contents(messages[1:at]), contents(messages[at + 1 :])
    assert "on Page 44" not in before
    assert "on Page 43" not in after
    assert "on Page 44" in after or '"thought 44"' in after or "hardly remember" in after


def test_each_instruction_of_a_lineage_has_its_place() -> None:
    messages = compose(turn(4, instructions=((1, "First."), (3, "Second.")), instruction="Second."), 8_000)
    said = [message["content"] for message in messages if message["role"] == "user"]
    assert [said.index("First."), said.index("Second.")] == [1, 4]


def test_without_system_messages_roles_alternate_and_nothing_is_lost() -> None:
    told = turn(3, instructions=((3, RED),), instruction=RED)
    messages = compose(told, 8_000)
    plain = without_system_messages(messages)
    roles = [message["role"] for message in plain]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    assert all(message["content"] in contents(plain) for message in messages)
