"""A turn as a conversation: everything in its place, within the budget, the same every time."""

from dataclasses import replace
from typing import Any

import pytest

from understudy.domain.simulation import Assignment, Element, Observation, Person, Turn
from understudy.models.prompt import compose, estimate_tokens, without_system_messages

ADA = Person(
    "Ada Löve",
    36,
    "GB",
    "en",
    {"patience": 0.1, "tech_savviness": 0.9, "accessibility": ["low_vision", "no_pointer"], "mood": "tired"},
    "Runs a bookshop.",
)
PAGE = Observation(
    url="http://shop.test/p/7",
    title="Blue mug",
    text="A mug that is blue. " * 20,
    elements=(Element(1, "link", "Home", href="http://shop.test/"), Element(2, "button", "Add to cart")),
    status=200,
)


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


def test_the_person_is_the_system_message() -> None:
    system = compose(turn(), 8_000)[0]
    assert system["role"] == "system"
    for told in (
        "Ada Löve, 36",
        "bookshop",
        "low vision, no pointer",
        "tired",
        "very low (0.1",
        "Buy a blue mug",
    ):
        assert told in system["content"]


def test_what_is_seen_is_the_last_message() -> None:
    last = compose(turn(3), 8_000)[-1]
    assert last["role"] == "user"
    assert last["content"].startswith("You see: Blue mug (http://shop.test/p/7)")
    assert '[2] button "Add to cart"' in last["content"]


def test_turns_that_fit_are_told_word_for_word() -> None:
    messages = compose(turn(3), 8_000)
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert "Words of a page. Words" in messages[1]["content"]


@pytest.mark.parametrize("budget", [1_200, 1_500, 2_000, 3_000, 5_000, 8_000])
def test_any_history_fits_the_budget(budget: int) -> None:
    long = turn(60, start=40, instructions=((45, "Look for a red one."),), instruction="Look for a red one.")
    assert estimate_tokens(compose(long, budget)) <= budget


def test_older_turns_are_told_in_short_and_the_oldest_not_at_all() -> None:
    messages = compose(turn(60, start=40), 1_200)
    told = contents(messages)
    assert "(42 turns that you hardly remember.)" in messages[1]["content"]
    assert "\n50. on Page 50: follow link 50\n" in told
    assert '"thought 50"' not in told
    assert '"thought 59"' in told
    assert "Page 41" not in told


def test_what_is_dropped_is_the_same_every_time() -> None:
    assert compose(turn(60, start=40), 2_500) == compose(turn(60, start=40), 2_500)


def test_a_page_beyond_all_measure_is_cut_and_leaves_room_for_its_text() -> None:
    links = tuple(Element(number, "link", f"Product {number}", href="http://shop.test/") for number in range(1, 900))
    seen = replace(PAGE, elements=links, text="Words. " * 9_000)
    messages = compose(replace(turn(5), observation=seen), 4_000)
    assert estimate_tokens(messages) <= 4_000
    assert "more further down" in messages[-1]["content"]
    assert "Words. Words." in messages[-1]["content"]


@pytest.mark.parametrize("place", [0, 2, 5])
def test_an_instruction_stands_right_after_the_branch_point(place: int) -> None:
    told = turn(5, instructions=((place, "Look for a red one."),), instruction="Look for a red one.")
    messages = compose(told, 8_000)
    at = messages.index({"role": "user", "content": "Look for a red one."})
    assert at == 1 + 2 * place
    assert sum(message["content"] == "Look for a red one." for message in messages) == 1


def test_an_instruction_keeps_its_place_among_turns_told_in_short() -> None:
    told = turn(60, start=40, instructions=((44, "Look for a red one."),), instruction="Look for a red one.")
    messages = compose(told, 3_000)
    at = messages.index({"role": "user", "content": "Look for a red one."})
    before, after = contents(messages[1:at]), contents(messages[at + 1 :])
    assert "on Page 44" not in before
    assert "on Page 43" not in after
    assert "on Page 44" in after or '"thought 44"' in after or "hardly remember" in after


def test_each_instruction_of_a_lineage_has_its_place() -> None:
    told = turn(4, instructions=((1, "First."), (3, "Second.")), instruction="Second.")
    said = [message["content"] for message in compose(told, 8_000) if message["role"] == "user"]
    assert said.index("First.") < said.index("Second.")
    assert [said.index("First."), said.index("Second.")] == [1, 4]


def test_for_plain_models_roles_alternate_and_nothing_is_lost() -> None:
    told = turn(3, instructions=((3, "Look for a red one."),), instruction="Look for a red one.")
    messages = compose(told, 8_000)
    plain = without_system_messages(messages)
    roles = [message["role"] for message in plain]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    assert all(message["content"] in contents(plain) for message in messages)
