"""What a lineage typed, and the pages that may only repeat it. Contract section 2."""

import json

import pytest

from understudy.domain.simulation import Action, Element, Observation
from understudy.domain.typed_text import MAX_TYPED_CHARS, TypedText, shows

SEARCH = Element(1, "text", "Search", form=0)
GO = Element(2, "button", "Go", form=0)
NEWS = Element(3, "text", "E-mail", form=1)
SIGN_UP = Element(4, "button", "Sign up", form=1)
LINK = Element(5, "link", "Elephant", href="/product/elephant")
NEXT = Element(6, "link", "Next page", href="/next")
ELEMENTS = (SEARCH, GO, NEWS, SIGN_UP, LINK, NEXT)
START = "http://shop.test/"


def page(url: str, text: str = "", elements: tuple[Element, ...] = ELEMENTS, **more: str) -> Observation:
    return Observation(url=url, title="", text=text or f"Page {url.partition('#')[0]}", elements=elements, **more)


def travel(*steps: tuple[str, Element | None, str | None, str], start: str = START) -> tuple[TypedText, Observation]:
    """Each step: kind, element, value, address that it leads to."""
    typed, seen = TypedText(), page(start)
    for kind, element, value, url in steps:
        action = Action(kind, element and element.number, element.label if element else "", value)
        result = page(url)
        typed = TypedText.from_json(json.loads(json.dumps(typed.after(action, seen, result).to_json())))
        seen = result
    return typed, seen


def fill(text: str, element: Element = SEARCH, url: str = START) -> tuple[str, Element | None, str | None, str]:
    return "fill", element, text, url


def press(url: str, element: Element = GO) -> tuple[str, Element | None, str | None, str]:
    return "press", element, None, url


def follow(url: str, element: Element = NEXT) -> tuple[str, Element | None, str | None, str]:
    return "follow", element, None, url


def back(url: str) -> tuple[str, Element | None, str | None, str]:
    return "back", None, None, url


RESULTS = "http://shop.test/results/7"
PURPLE = "Purple  Elephant"
REPEATED = {
    "the page that answers the form": (fill(PURPLE), press(RESULTS)),
    "a part of that page": (fill(PURPLE), press(RESULTS), follow(RESULTS + "#more")),
    "that page again": (fill(PURPLE), press(RESULTS), follow(START), back(RESULTS)),
    "that page after a wait": (fill(PURPLE), press(RESULTS), ("wait", None, None, RESULTS)),
    "a list that submits at once": (fill(PURPLE), ("choose", GO, "x", RESULTS)),
    "an address": (fill(PURPLE), press(RESULTS), follow("http://shop.test/?q=purple+elephant&page=2")),
    "an encoded address": (fill(PURPLE), follow("http://shop.test/?q=PURPLE%2520elephant")),
    "a path": (fill(PURPLE), follow("http://shop.test/find/purple%20elephant")),
    "a fragment": (fill(PURPLE), follow("http://shop.test/#q=purple%20elephant")),
    "a one-word path": (fill("elephant"), follow("http://shop.test/find/elephant")),
}
OWN = {
    "nothing was sent": (fill(PURPLE),),
    "a page behind a link": (fill(PURPLE), press(RESULTS), follow("http://shop.test/product/17", LINK)),
    "a product's page by its name": (fill(PURPLE), follow("http://shop.test/product/purple-elephant", LINK)),
    "a product's page by its only word": (fill("elephant"), follow("http://shop.test/product/elephant", LINK)),
    "an answer to another form": (fill(PURPLE), press(RESULTS, SIGN_UP)),
    "back to a page that answers nothing": (fill(PURPLE), press(RESULTS), back(START)),
    "a form on a page behind a link": (fill(PURPLE), press(RESULTS), follow(START), press(RESULTS, SIGN_UP)),
}


@pytest.mark.parametrize("steps", REPEATED.values(), ids=REPEATED)
def test_repeated_by_page_that_may_only_repeat_is_the_typed_text(steps: tuple) -> None:
    typed, seen = travel(*steps)
    assert typed.repeated_by(seen) == typed.texts != ()


@pytest.mark.parametrize("steps", OWN.values(), ids=OWN)
def test_repeated_by_page_that_the_site_wrote_is_nothing(steps: tuple) -> None:
    typed, seen = travel(*steps)
    assert typed.texts
    assert typed.repeated_by(seen) == ()


def test_after_second_form_with_the_text_in_a_field_answers_it_too() -> None:
    typed, _ = travel(fill(PURPLE), press(RESULTS))
    kept = page(RESULTS, elements=(Element(1, "text", "Search", value="Purple Elephant", form=0), GO))
    typed = typed.after(Action("press", 2), kept, page("http://shop.test/results/8"))
    assert typed.answered == (PURPLE,)


def test_after_refused_form_keeps_what_was_typed() -> None:
    typed, seen = travel(fill(PURPLE))
    refused = page(START, problem="Fill in your name.")
    typed = typed.after(Action("press", 2), seen, refused)
    assert typed.after(Action("press", 2), refused, page(RESULTS)).answered == (PURPLE,)


def test_of_history_without_checkpoint_takes_the_fields_of_all_steps() -> None:
    history = [
        {"action": {"kind": "fill", "element": 1, "value": "ada"}},
        {"action": {"kind": "answer", "value": {"pick": "A"}}},
        {"action": {"kind": "fill", "value": "mug"}},
    ]
    typed = TypedText.of_history(history)
    assert typed.texts == typed.answered == ("ada", "mug")


def test_texts_beyond_the_bound_are_forgotten_oldest_first() -> None:
    typed, _ = travel(fill("first"), *(fill(letter * (MAX_TYPED_CHARS // 2)) for letter in "ab"))
    assert [text[0] for text in typed.texts] == ["a", "b"]
    typed, _ = travel(fill("x" * 3 * MAX_TYPED_CHARS), fill("last\0"))
    assert typed.texts == ("last",)


@pytest.mark.parametrize(
    ("text", "wanted", "typed", "expected"),
    [
        ("No results for purple elephant.", "purple elephant", ["Purple  Elephant"], False),
        ('Nothing for "PURPLE ELEPHANT"', '"purple elephant"', ["purple elephant"], False),
        ("Nothing for purple elephants", "purple elephant", ["purple elephants"], False),
        ("Nothing for purple elephants", "purple elephant", ["purple elephant"], False),
        ("Nothing for a big purple elephant, sorry", "purple elephant", ["a big purple elephant, sorry"], False),
        (
            "Nothing for a very big purple elephant…",
            "purple elephant",
            ["a very big purple elephant with wings"],
            False,
        ),
        ("Welcome Ada Lovelace", "ada lovelace", ["Ada", "Lovelace"], False),
        ("Kein Treffer für »Straße«", "strasse", ["STRASSE"], False),
        ("「象」の検索結果", "象", ["象"], False),
        ("象の検索結果", "象", ["象"], False),
        ("Suchbegriff: ✓", "✓", ["✓"], False),
        ("1 2", "12", ["1", "2"], False),
        # The site's own words.
        ("Our purple elephant", "purple elephant", [], True),
        ("Results for elephant: the Purple Elephant", "purple elephant", ["elephant"], True),
        ("Thank you, Ada!", "thank you, ada", ["Ada"], True),
        ("No results for mug", "results for mug", ["mug"], True),
        ("Thank you! We read your message.", "thank you", ["I write to say hello and thank you!"], True),
        ("Order 12 of 2026", "12", ["1", "2"], True),
        ("Sent ✓ ✓", "✓ ✓", ["x"], True),
    ],
)
def test_shows_text_that_was_typed_does_not_count(text: str, wanted: str, typed: list[str], expected: bool) -> None:
    assert shows(text, wanted, typed) is expected


@pytest.mark.parametrize(
    ("text", "wanted", "typed"),
    [
        ("a" * 60_000, "a" * 1_000, ["a" * 8_000]),
        ("a" * 60_000, "a" * 1_000, ["a", "aa", "a" * 20]),
        ("x y " * 15_000, "x y " * 250, [*("x y" * n for n in range(1, 200)), "x y x"]),
    ],
)
def test_shows_hostile_text_of_repetitions_is_decided(text: str, wanted: str, typed: list[str]) -> None:
    # A cost beyond the size of the text exceeds the time limit of tests.
    assert not shows(text, wanted, typed)
