"""The heuristic mind: reproducible, quick, able to decide on anything, and obedient to instructions."""

import asyncio
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.call_counter import count_calls
from understudy.domain.people import generate_people
from understudy.domain.simulation import Action, Assignment, Decision, Element, Observation, Person, Success, Turn
from understudy.minds.heuristic import HeuristicMind
from understudy.minds.heuristic.form_values import option_for_field, text_for_field
from understudy.minds.heuristic.goal_parser import parse_goal
from understudy.minds.heuristic.memory import Memory
from understudy.minds.heuristic.word_stems import language_of_label, stem, stems

ADA = Person("Ada Löve", 36, "GB", "en", {"patience": 0.5, "curiosity": 0.5})
INSTRUCTION = "Stop browsing - switch to the German picker."
MIND = HeuristicMind()


def decide(seen: Observation, task: str = "Buy a blue mug", person: Person = ADA, **turn: Any) -> Decision:
    return asyncio.run(MIND.decide(Turn(person, Assignment(task, turn.pop("success", None)), seen, **turn)))


def page(*elements: Element, url: str = "http://shop.test/", **seen: Any) -> Observation:
    numbered = tuple(replace(element, number=number) for number, element in enumerate(elements, 1))
    return Observation(url=url, title=seen.pop("title", "Shop"), elements=numbered, status=200, **seen)


def link(label: str, href: str = "") -> Element:
    return Element(0, "link", label, href=href or f"http://shop.test/{label.lower().replace(' ', '-')}")


def picker(value: str = "EN", *options: str, form: int = 7) -> tuple[Element, Element]:
    select = Element(0, "select", "Language", value=value, options=options or ("EN", "DE", "FR"), form=form)
    return select, Element(0, "button", "Change", form=form)


def search_form(value: str = "") -> tuple[Element, Element]:
    return Element(0, "text", "Search", value=value, form=1), Element(0, "button", "Search", form=1)


CART = link("Cart (0)", "http://shop.test/cart")
SHOP = page(link("Home"), *search_form(), CART, *picker(), link("Red Mug"), link("Lamps"))


def everybody_decides(seen: Observation, task: str, **turn: Any) -> list[tuple[str, str]]:
    decisions = (decide(seen, task, person, seed=3, **turn) for person in generate_people(20, 1))
    return [(decision.action.kind, decision.action.target) for decision in decisions]


def test_decisions_differ_by_person_and_by_seed() -> None:
    assert len(set(everybody_decides(SHOP, "Buy something"))) > 1
    assert len({decide(SHOP, "Look around", seed=seed).action for seed in range(20)}) > 1


def test_decisions_do_not_depend_on_the_process() -> None:
    """Hashes of strings, and with them the order of sets, differ between processes."""
    task = Assignment("Find the blue mug or the red lamp on the shop page")
    turns = pickle.dumps([Turn(ADA, task, SHOP, seed=seed) for seed in range(30)])
    script = (
        "import asyncio, pickle, sys\n"
        "from understudy.minds.heuristic.mind import HeuristicMind\n"
        "for turn in pickle.load(sys.stdin.buffer):\n"
        "    print(asyncio.run(HeuristicMind().decide(turn)))"
    )
    environments = [os.environ | {"PYTHONHASHSEED": seed} for seed in ("1", "2", "3")]
    decisions = {
        subprocess.run([sys.executable, "-c", script], input=turns, env=env, capture_output=True, check=True).stdout
        for env in environments
    }
    assert len(decisions) == 1


# What it goes for


@pytest.mark.parametrize(
    ("task", "labels", "wanted"),
    [
        ("Find the page of json.dumps", ["jsonpickle", "_json", "json (package)", "io"], "json (package)"),
        ("Find the page of json.dumps", ["json", "json.tool", "json.dumps"], "json.dumps"),
        ("Look up opening hours", ["Contact", "Opening Hours", "Hours of fun", "Home"], "Opening Hours"),
        ("Read about shipping", ["About us", "Ship models", "Shipping"], "Shipping"),
        ('Open the "Terms of use"', ["Use", "Terms", "Terms of use"], "Terms of use"),
    ],
)
def test_it_follows_the_link_that_fits_the_task(task: str, labels: list[str], wanted: str) -> None:
    chosen_by_all = everybody_decides(page(*map(link, labels)), task)
    assert chosen_by_all.count(("follow", wanted)) >= 18


def test_it_searches_for_the_goal_and_presses_the_button() -> None:
    seen = page(*search_form(), link("About us"))
    first = decide(seen, "Find the blue mug")
    assert (first.action.kind, first.action.value) == ("fill", "blue mug")
    filled = page(*search_form("blue mug"), link("About us"))
    assert decide(filled, "Find the blue mug", memory=first.memory).action == Action("press", 2, "Search")


def test_it_buys_step_by_step() -> None:
    memory: Any = {}

    def step(seen: Observation) -> Action:
        nonlocal memory
        decision = decide(seen, "Buy two blue mugs", memory=memory, success=Success(url_contains="/done"))
        memory = json.loads(json.dumps(decision.memory))
        return decision.action

    menu = (link("Cart", "http://shop.test/cart"), link("Continue", "http://shop.test/"))
    assert step(page(*menu, link("Red Mug"), link("Blue Mug"))).target == "Blue Mug"
    quantity = Element(0, "text", "Quantity", value="1", form=1)
    add = Element(0, "button", "Add to cart", form=1)
    product = {"title": "Blue Mug", "url": "http://shop.test/blue-mug"}
    assert step(page(*menu, quantity, add, **product)) == Action("fill", 3, "Quantity", "2")
    assert step(page(*menu, replace(quantity, value="2"), add, **product)).kind == "press"
    cart = page(*menu, link("Proceed to checkout"), title="Cart", url="http://shop.test/cart")
    assert step(cart).target == "Proceed to checkout"
    order = [
        Element(0, "text", "E-Mail *", value="ada.love@example.org", form=1),
        Element(0, "text", "City *", value="London", form=1),
        Element(0, "checkbox", "Send me the newsletter", form=1),
        Element(0, "checkbox", "I accept the terms (required)", form=1),
        *(Element(0, "button", label, form=1) for label in ("Remove", "Place order")),
    ]
    checkout = {"title": "Checkout", "url": "http://shop.test/checkout"}
    assert step(page(*menu, *order, **checkout)).target == "I accept the terms (required)"
    order[3] = replace(order[3], value="on")
    assert step(page(*menu, *order, **checkout)).target == "Place order"


def test_it_ignores_newsletters_logins_and_legal_pages() -> None:
    email = Element(0, "text", "E-mail", form=1)
    seen = page(email, Element(0, "button", "Subscribe", form=1), link("No, thanks"), link("Imprint"))
    assert set(everybody_decides(seen, "Buy a blue mug")) == {("follow", "No, thanks")}


def test_without_a_condition_it_finishes_on_the_page_of_the_goal() -> None:
    before = decide(page(link("Opening hours")), "Find the opening hours")
    found = page(link("Home"), title="Opening hours", url="http://shop.test/hours")
    assert decide(found, "Find the opening hours", memory=before.memory).action.kind == "finish"
    condition = Success(text_contains="Monday")
    assert decide(found, "Find the opening hours", memory=before.memory, success=condition).action.kind != "finish"


def test_it_goes_on_from_a_page_of_results() -> None:
    first = decide(page(*search_form()), "Find the blue mug")
    second = decide(page(*search_form("blue mug")), "Find the blue mug", memory=first.memory)
    results = page(link("Blue Mug"), title="Results for “blue mug”", url="http://shop.test/search")
    third = decide(results, "Find the blue mug", memory=second.memory)
    assert (third.action.kind, third.action.target) == ("follow", "Blue Mug")


# Instructions


@pytest.mark.parametrize("options", [("EN", "DE", "FR"), ("English", "Deutsch"), ("English (en)", "German (de-AT)")])
def test_an_instruction_to_use_the_picker_comes_first(options: tuple[str, ...]) -> None:
    seen = page(link("Blue Mug"), *search_form(), *picker(options[0], *options))
    assert ("choose", "Language") not in everybody_decides(seen, "Buy a blue mug")
    instructed = everybody_decides(seen, "Buy a blue mug", instruction=INSTRUCTION, resumed=True)
    assert set(instructed) == {("choose", "Language")}
    assert decide(seen, instruction=INSTRUCTION, resumed=True).action.value == options[1]


@pytest.mark.parametrize("labels", [("English", "Deutsch"), ("EN", "DE"), ("Shop", "German")])
def test_a_picker_may_be_links(labels: tuple[str, str]) -> None:
    seen = page(link("Blue Mug"), *map(link, labels))
    first = decide(seen, instruction=INSTRUCTION, resumed=True)
    assert (first.action.kind, first.action.target) == ("follow", labels[1])
    assert decide(seen, memory=first.memory, instruction=INSTRUCTION).action.target == "Blue Mug"


@pytest.mark.parametrize("others", [picker("DE"), (link("It"), link("No"))], ids=["in German already", "no picker"])
def test_an_instruction_without_a_use_for_a_picker_leaves_the_task(others: tuple[Element, ...]) -> None:
    assert decide(page(link("Blue Mug"), *others), instruction=INSTRUCTION, resumed=True).action.target == "Blue Mug"


@pytest.mark.parametrize(
    ("instruction", "wanted"),
    [
        ("Look at the lamps instead", ("follow", "Lamps")),
        ("Don't buy the blue mug, take the red one.", ("follow", "Red Mug")),
        ("Use the search box", ("fill", "Search")),
        ("Stop.", ("finish", "")),
        ("Please give up now", ("finish", "")),
    ],
)
def test_an_instruction_overrides_the_task(instruction: str, wanted: tuple[str, str]) -> None:
    seen = page(link("Blue Mug"), link("Red Mug"), link("Lamps"), *search_form())
    action = decide(seen, instruction=instruction, resumed=True).action
    assert (action.kind, action.target) == wanted


def test_a_resumed_run_starts_without_frustration() -> None:
    memory = {"frustration": 9.0}
    assert decide(SHOP, memory=memory).action.kind == "give_up"
    resumed = decide(SHOP, memory=memory, resumed=True)
    assert resumed.action.kind != "give_up"
    assert resumed.sentiment > 0


def test_which_language_is_asked_for() -> None:
    languages = {
        INSTRUCTION: "de",
        "Show it in French": "fr",
        "Change the language to DE": "de",
        "auf Deutsch bitte": "de",
        "Find the German dictionary": None,
        "Buy an Italian coffee maker": None,
        "It is in the English garden": None,
    }
    assert {text: parse_goal(text).language for text in languages} == languages


# Getting nowhere


def walk_in_circles(person: Person, steps: int = 80) -> list[Decision]:
    """A site of a few pages that lead to each other and nowhere else."""
    names, here, decisions = ["Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Zeta"], 0, list[Decision]()
    memory: Any = {}
    for turn in range(steps):
        seen = page(*(link(name) for name in names), url=f"http://shop.test/{names[here].lower()}", title=names[here])
        decision = decide(seen, "Find the unicorn", person, memory=memory, remaining=steps - turn)
        decisions.append(decision)
        if decision.action.kind == "give_up":
            break
        memory = json.loads(json.dumps(decision.memory))
        if decision.action.kind == "follow":
            here = names.index(decision.action.target)
    return decisions


@pytest.mark.parametrize("person", generate_people(10, 1), ids=lambda person: person.name)
def test_it_visits_new_pages_before_known_ones(person: Person) -> None:
    visited = [decision.action.target for decision in walk_in_circles(person)[:5] if decision.action.target]
    assert len(set(visited)) == len(visited) >= 3


def test_it_gives_up_in_a_bad_mood_and_later_with_more_patience() -> None:
    walks = [walk_in_circles(replace(ADA, traits={"patience": patience})) for patience in (0.0, 0.5, 1.0)]
    assert [decisions[-1].action.kind for decisions in walks] == ["give_up"] * 3
    assert max(decisions[-1].sentiment for decisions in walks) < -0.5 < min(walk[0].sentiment for walk in walks)
    lengths = list(map(len, walks))
    assert lengths == sorted(set(lengths))


def test_a_problem_lowers_the_sentiment() -> None:
    seen = page(link("Blue Mug"))
    memory = decide(seen).memory
    troubled = decide(replace(seen, problem="It broke."), memory=memory)
    assert troubled.sentiment < decide(seen, memory=memory).sentiment
    assert "It broke." in troubled.thought


def test_it_goes_back_from_an_error_page() -> None:
    first = decide(page(link("Blue Mug")))
    assert first.action.target == "Blue Mug"
    dead = Observation("http://shop.test/blue-mug", "Oops", status=500, problem="500")
    assert decide(dead, memory=first.memory).action.kind == "back"


def test_on_an_empty_page_it_waits_and_then_gives_up() -> None:
    empty = Observation("http://shop.test/", "")
    first = decide(empty)
    assert first.action.kind == "wait"
    assert decide(empty, memory=first.memory).action.kind == "give_up"


def crowded(turn: int, links: int) -> Observation:
    """A page on which every label is new."""
    labels = (f"Thing {turn} {links} {number} about {'words ' * 5}" for number in range(links))
    return page(*map(link, labels), url=f"http://shop.test/{turn}", text="word " * 4_000)


def test_memory_stays_small_and_the_last_decision_is_as_quick_as_the_first() -> None:
    memory: Any = {}
    efforts = []
    for turn in range(60):
        think = partial(decide, crowded(turn, 250), "Find the blue thing about words", memory=memory)
        # To count calls takes much longer than the decision: only at both ends.
        decision, effort = (think(), 0) if 5 <= turn < 55 else count_calls(think)
        efforts.append(effort)
        memory = json.loads(json.dumps(decision.memory, allow_nan=False))
        assert len(json.dumps(memory)) < 16_000
    assert sorted(efforts[55:])[2] <= 1.1 * sorted(efforts[:5])[2]


def test_the_effort_of_a_decision_grows_no_faster_than_the_page() -> None:
    efforts = [count_calls(partial(decide, crowded(99, links)))[1] for links in (250, 500, 1_000)]
    assert efforts[1] <= 2.5 * efforts[0]
    assert efforts[2] <= 2.5 * efforts[1]


ODD_TEXT = st.text(max_size=40) | st.sampled_from(
    ["", "\x00", "\ud800", "(required)", "DE", "Add to cart", "Search", "*"]
)
ODD_ELEMENTS = st.builds(
    Element,
    number=st.integers(-1, 5),
    kind=st.sampled_from(["link", "button", "text", "textarea", "select", "checkbox", "radio", "sofa", ""]),
    label=ODD_TEXT,
    href=ODD_TEXT | st.sampled_from(["http://[", "http://shop.test/a?b#c", "//", "x" * 5_000]),
    value=ODD_TEXT,
    options=st.lists(ODD_TEXT, max_size=4).map(tuple),
    form=st.none() | st.integers(-1, 3),
)
ODD_PAGES = st.builds(
    Observation,
    url=ODD_TEXT,
    title=ODD_TEXT,
    text=ODD_TEXT,
    headings=st.lists(ODD_TEXT, max_size=3).map(tuple),
    elements=st.lists(ODD_ELEMENTS, max_size=8).map(tuple),
    status=st.none() | st.integers(-1, 999),
    problem=ODD_TEXT,
)
ODD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=6,
)


def test_stored_memory_keeps_the_keys_that_older_workers_read() -> None:
    stored = {
        "turns": 3,
        "frustration": 0.25,
        "tried": {"0a": 2},
        "seen": {"0b": 1},
        "furniture": ["0c"],
        "searches": ["mug"],
        "last_kind": "press",
        "last_reason": "language",
        "last_place": "0d",
        "last_look": "0e",
        "best": 0.5,
        "in_cart": True,
        "depth": 4,
        "told": "0f",
        "told_step": 2,
        "told_tries": 5,
        "told_done": True,
        "told_look": "10",
    }
    memory = Memory.load(stored)
    assert memory.repeated_links == ["0c"]
    assert (memory.instruction, memory.instruction_page) == ("0f", "10")
    assert (memory.instruction_step, memory.instruction_tries, memory.instruction_done) == (2, 5, True)
    assert list(memory.as_json().items()) == list(stored.items())


MEMORY_KEYS = sorted(decide(SHOP).memory)
KINDS = {"follow", "fill", "choose", "check", "press", "back", "wait", "finish", "give_up"}


@settings(max_examples=150, deadline=None)
@given(
    pages=st.lists(ODD_PAGES, min_size=1, max_size=3),
    person=st.builds(
        Person,
        name=ODD_TEXT,
        age=st.integers(-5, 10**6),
        country=ODD_TEXT,
        language=ODD_TEXT,
        traits=st.dictionaries(st.sampled_from(["patience", "curiosity", "x"]), ODD_JSON),
    ),
    task=ODD_TEXT | st.sampled_from(["Buy two 'x' in German", "Find json.dumps", "Search for it, don't buy it"]),
    instruction=ODD_TEXT | st.just(INSTRUCTION),
    memory=st.dictionaries(st.sampled_from(MEMORY_KEYS), ODD_JSON, max_size=4),
    seed=st.integers(-(10**20), 10**20),
)
def test_it_decides_whatever_it_sees_remembers_and_is_told(
    pages: list[Observation], person: Person, task: str, instruction: str, memory: Any, seed: int
) -> None:
    # To make up pages takes longer than to decide: each is decided on with an instruction and without.
    for seen, told in product(pages, (None, instruction)):
        decision = decide(seen, task, person, memory=memory, instruction=told, seed=seed)
        memory = json.loads(json.dumps(decision.memory, allow_nan=False))
        assert decision.action.kind in KINDS
        assert -1.0 <= decision.sentiment <= 1.0
        assert 0 < len(decision.thought) < 1_000
        assert decision.action.element in {None, *(element.number for element in seen.elements)}


def test_stems_of_words_and_of_the_parts_of_identifiers() -> None:
    words = {"mugs": "mug", "boxes": "box", "categories": "category", "shopping": "shop", "ordered": "order"}
    assert {word: stem(word) for word in words} == words
    assert stems("json.dumps addToCart os_path") == ("json", "dump", "add", "to", "cart", "os", "path")


def test_label_of_a_language_link_gives_its_code() -> None:
    codes = {
        "DE": "de",
        "Deutsch": "de",
        "English (US)": "en",
        "fr-CA": "fr",
        "日本語": "ja",
        "Red Mug": None,
        "": None,
    }
    assert {label: language_of_label(label) for label in codes} == codes


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        ("Vor- und Nachname *", "Ada Löve"),
        ("Nachname", "Löve"),
        ("E-Mail-Adresse", "ada.love@example.org"),
        ("Straße und Hausnummer", True),
        ("Card number", "4242 4242 4242 4242"),
        ("City", "London"),
        ("Postleitzahl (required)", "SW1A 1AA"),
        ("First name (required)", "Ada"),
        ("Quantity", "3"),
    ],
)
def test_answers_fit_the_question(label: str, answer: str | bool) -> None:
    said = text_for_field(Element(1, "text", label), ADA, parse_goal("Order three red mugs"))
    assert said == answer if isinstance(answer, str) else " " in said


@pytest.mark.parametrize(
    ("country", "offered", "wanted"),
    [
        ("DE", ("Choose", "Österreich", "Deutschland"), "Deutschland"),
        ("BE", ("France", "Belgique / België"), "Belgique / België"),
        ("TH", ("Choose", "Germany", "Other"), "Other"),
    ],
)
def test_countries_are_found_by_any_of_their_names(country: str, offered: tuple[str, ...], wanted: str) -> None:
    field = Element(1, "select", "Country", options=offered)
    assert option_for_field(field, replace(ADA, country=country), parse_goal("Buy it"), 0.5) == wanted
