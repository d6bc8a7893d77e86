"""When an assignment counts as done. Contract section 2."""

import pytest

from understudy.cli.success_conditions import success_words
from understudy.domain.simulation import Element, ElementCondition, Observation, Success
from understudy.domain.success import ROLES, succeeded, success_from_json
from understudy.domain.typed_text import TypedText
from understudy.envelopes import studies as envelopes
from understudy.operations.success_request import ElementRequest
from understudy.plugins.url_patterns import matches

SEEN = Observation(
    url="https://shop.example/order/7?from=cart",
    title="Done",
    text="Thank You for\n  your café order",
    headings=("All done",),
    elements=(
        Element(1, "button", "Sign out"),
        Element(2, "link", "Print"),
        Element(3, "radio", "How was it?", options=("Good", "Bad")),
        Element(4, "textarea", "Comment", value="splendid"),
        Element(5, "select", "Country", options=("Peru",)),
    ),
)


def has(role: str, name: str) -> Success:
    return Success(element=ElementCondition(role, name))


def holds(success: Success | None, seen: Observation = SEEN, typed: TypedText = TypedText()) -> bool:  # noqa: B008
    return succeeded(success, seen, typed, matches)


@pytest.mark.parametrize(
    ("success", "expected"),
    [
        (None, False),
        (Success(), False),
        (Success(url_contains="/ORDER/"), False),
        (Success(text_contains="thank you"), True),
        (Success(text_contains="THANK YOU FOR YOUR"), True),
        (Success(text_contains="cafe\u0301"), True),
        (Success(text_contains=" \n"), False),
        (Success(text_contains="splendid"), False),
        (Success(url_contains="/order/", text_contains="thank you"), True),
        (Success(url_contains="/cart", text_contains="thank you"), False),
        (Success(url_contains="/order/", text_contains="sorry"), False),
        (Success(url_matches=r"/order/\d+"), True),
        (Success(url_matches=r"^https://[^/]+/order/[0-9]+\?"), True),
        (Success(url_matches=r"^/order/"), False),
        (Success(url_matches=r"/order/\d+$"), False),
        (Success(url_matches=r"(?i)/ORDER/", text_contains="sorry"), False),
        (has("button", "sign OUT"), True),
        (has("link", "Sign out"), False),
        (has("button", "Sign"), True),
        (has("radio", "Good"), True),
        (has("radio", "How was"), True),
        (has("textbox", "Comment"), True),
        (has("textbox", "splendid"), False),
        (has("combobox", "Country"), True),
        (has("combobox", "Peru"), False),
        (has("heading", "all done"), True),
        (has("checkbox", "Print"), False),
        (Success(text_absent="sorry"), False),
        (Success(text_contains="thank you", text_absent="Sorry"), True),
        (Success(text_contains="thank you", text_absent="CAFÉ"), False),
        (Success(url_contains="/order/", text_absent="your café"), False),
        (Success(url_contains="/cart", text_absent="sorry"), False),
    ],
)
def test_succeeded_all_given_conditions_hold_is_true(success: Success | None, expected: bool) -> None:
    assert holds(success) is expected


def test_succeeded_part_of_a_page_in_view_uses_the_whole_text() -> None:
    seen = Observation("", "", text="first part", whole="first part, last part")
    assert holds(Success(text_contains="last part"), seen)
    assert not holds(Success(text_contains="first", text_absent="last"), seen)


def test_succeeded_chat_counts_only_what_the_bot_says() -> None:
    typed = TypedText(texts=("blue mug",), answered=("blue mug",))
    seen = Observation("http://bot.test/?q=blue+mug", "", text="You: a blue mug? Bot: Red.", news="Red.")
    assert not holds(Success(text_contains="blue mug"), seen, typed)
    said = Observation(seen.url, "", text="You: a blue mug? Bot: A blue mug.", news="A blue mug.")
    assert holds(Success(text_contains="blue mug"), said, typed)
    assert holds(Success(text_contains="red", text_absent="blue mug"), seen)


def test_succeeded_nested_repetitions_take_linear_time() -> None:
    assert not matches("(a+)+(b|[a-z]+)*$", "a" * 100_000 + "!")


def test_success_from_json_unknown_to_older_workers_is_read() -> None:
    stored = {"url_contains": "/", "element": {"role": "link", "name": "Print"}, "text_absent": "x"}
    expected = Success(url_contains="/", element=ElementCondition("link", "Print"), text_absent="x")
    assert success_from_json(stored) == expected
    assert success_from_json(None) is None


def test_roles_of_requests_are_those_of_the_rule() -> None:
    assert set(ElementRequest.model_fields["role"].annotation.__args__) == set(ROLES)


def test_success_words_name_all_conditions() -> None:
    given = {"url_matches": "/o/", "text_absent": "Sorry", "element": {"role": "link", "name": "Print"}}
    words = success_words(envelopes.Success.model_validate({"text_contains": "Hi", **given}))
    assert words == "address matches '/o/' and text contains 'Hi' and text lacks 'Sorry' and link 'Print' is there"
    assert success_words(None) == ""
