"""What environments honour of how a person uses them: small screens, no pointer, high zoom."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from tests.servers import serve_in_thread
from understudy.deploy.chatbot.app import create_chatbot
from understudy.deploy.shop.app import create_shop
from understudy.domain.accessibility import AccessibilityNeeds
from understudy.domain.people import generate_people
from understudy.domain.simulation import Action, Assignment, Json, Observation, Person, Success, Turn, succeeded
from understudy.environments.chat import ChatEnvironment
from understudy.environments.web import WebEnvironment
from understudy.environments.window import windows
from understudy.minds.heuristic import HeuristicMind

T = TypeVar("T")

PHONE, KEYBOARD, ZOOMED = (
    AccessibilityNeeds(small_viewport=True),
    AccessibilityNeeds(no_pointer=True),
    AccessibilityNeeds(high_zoom=True),
)
LINES = " ".join(f"Line {number} of the terms." for number in range(200))
PAGE = f"""<title>Shop</title><h1>Welcome</h1><a href=/top>Top offers</a>
<button form=f tabindex=-1>Quick buy</button><a href=/hover tabindex="-1">Hover menu</a>
<p>{LINES}</p><h2>Order</h2>
<form id=f method=post action=/sent><label>Name <input name=name></label><button>Send</button></form>
<a href=/imprint>Imprint</a>"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    site = FastAPI()

    @site.get("/", response_class=HTMLResponse)
    async def page(request: Request) -> str:
        return PAGE.replace("Welcome", f"Welcome {request.headers.get('sec-ch-ua-mobile')}")

    @site.get("/{path}", response_class=HTMLResponse)
    async def other(path: str) -> str:
        return f"<title>{path}</title>"

    @site.post("/sent", response_class=HTMLResponse)
    async def sent(request: Request) -> str:
        return "<title>Sent</title>" + (await request.body()).decode()

    with serve_in_thread(site) as address:
        yield address


def visit(
    url: str, access: AccessibilityNeeds, walk: Callable[[WebEnvironment], Awaitable[T]], before: Any = None
) -> T:
    async def go() -> T:
        environment = WebEnvironment({"url": url}, allow_private_hosts=True, access=access)
        try:
            await (environment.restore(before) if before else environment.open())
            return await walk(environment)
        finally:
            await environment.close()

    return asyncio.run(go())


def labels(seen: Observation) -> list[str]:
    return [element.label for element in seen.elements]


@pytest.mark.parametrize(
    ("traits", "access"),
    [
        ({}, AccessibilityNeeds()),
        ({"accessibility": ["dyslexia"]}, AccessibilityNeeds()),
        ({"accessibility": "small_viewport"}, PHONE),
        ({"accessibility": ["keyboard_only"]}, KEYBOARD),
        ({"accessibility": ["screen_reader", "low_vision"]}, replace(KEYBOARD, high_zoom=True)),
        ({"accessibility": {"no_pointer": True}}, AccessibilityNeeds()),
        ({"accessibility": [1, None, ["no_pointer"]]}, AccessibilityNeeds()),
        ({"accessibility": None}, AccessibilityNeeds()),
        ([], AccessibilityNeeds()),
    ],
    ids=str,
)
def test_what_a_person_needs_is_read_off_the_traits(traits: Any, access: AccessibilityNeeds) -> None:
    assert AccessibilityNeeds.from_traits(traits) == access


@pytest.mark.parametrize("text", ["", "word", "x" * 2_000, "ab cd " * 500, " " * 700])
def test_windows_cover_a_text_once_in_bounded_parts(text: str) -> None:
    found = windows(text, 300)
    assert "".join(text[window.start : window.end] for window in found) == text
    assert all(0 < window.end - window.start <= 300 for window in found) or not text


def test_one_sees_a_part_of_a_page_scrolls_through_all_of_it_and_starts_again(url: str) -> None:
    async def walk(environment: WebEnvironment) -> list[Observation]:
        seen = [environment.observe()]
        for _ in range(20):
            await environment.act(Action("scroll"))
            seen.append(environment.observe())
            if seen[-1].text == seen[0].text:
                break
        return seen

    whole = visit(url, AccessibilityNeeds(), walk)
    assert whole[1].problem == "All of the page is in view."
    assert "scroll" not in whole[0].actions
    by_access = {access: visit(url, access, walk) for access in (PHONE, ZOOMED, AccessibilityNeeds(True, False, True))}
    parts = [len(seen) - 1 for seen in by_access.values()]
    assert 1 < parts[0] < parts[1] < parts[2]
    for access, seen in by_access.items():
        assert max(len(one.text) for one in seen) <= (access.visible_chars or 0)
        assert all(len(str(one.whole)) > 4_000 and "scroll" in one.actions for one in seen)
        # Together they are the page, each element once.
        shown = list(itertools.chain.from_iterable(labels(one) for one in seen[:-1]))
        assert shown == labels(whole[0])
        assert seen[0].headings
        assert "Order" not in seen[0].headings
        assert "Order" in seen[-2].headings
        assert (labels(seen[0])[0], labels(seen[-2])[-1]) == ("Top offers", "Imprint")
    # Success is looked for on all of the page, not in the part.
    assert succeeded(Success(text_contains="line 199 of"), by_access[PHONE][0])


def test_what_is_not_in_view_is_not_acted_on_and_a_snapshot_keeps_the_place(url: str) -> None:
    async def seen_at_once(environment: WebEnvironment) -> Observation:
        return environment.observe()

    send = next(e for e in visit(url, AccessibilityNeeds(), seen_at_once).elements if e.label == "Send")

    async def press(environment: WebEnvironment) -> tuple[str, Any]:
        await environment.act(Action("press", send.number))
        problem = environment.observe().problem
        for _ in range(20):
            if "Send" in labels(environment.observe()):
                break
            await environment.act(Action("scroll"))
        return problem, json.loads(json.dumps(environment.snapshot()))

    problem, snapshot = visit(url, PHONE, press)
    assert problem == '"Send" is not in view.'

    async def go_on(environment: WebEnvironment) -> Observation:
        assert "Send" in labels(environment.observe())
        await environment.act(Action("press", send.number))
        return environment.observe()

    assert visit(url, PHONE, go_on, snapshot).title == "Sent"
    old = {name: value for name, value in snapshot.items() if name != "above"}
    assert "Top offers" in labels(visit(url, PHONE, seen_at_once, old))


def test_who_has_no_pointer_gets_only_where_the_keyboard_goes(url: str) -> None:
    async def walk(environment: WebEnvironment) -> tuple[list[str], str, str]:
        seen = labels(environment.observe())
        everything = {"Quick buy": 0, "Hover menu": 0}
        for element in environment._forms.elements():
            if element.label in everything:
                everything[element.label] = element.number
        problems = []
        for label, number in everything.items():
            await environment.act(Action("press" if label == "Quick buy" else "follow", number))
            problems.append(environment.observe().problem)
        return seen, problems[0], problems[1]

    seen, button, link = visit(url, KEYBOARD, walk)
    assert seen == ["Top offers", "Name", "Send", "Imprint"]
    assert button == '"Quick buy" cannot be reached with the keyboard.'
    assert link == '"Hover menu" cannot be reached with the keyboard.'

    async def look(environment: WebEnvironment) -> list[str]:
        return labels(environment.observe())

    assert {"Quick buy", "Hover menu"} <= set(visit(url, AccessibilityNeeds(), look))


def test_a_site_is_told_that_it_is_a_phone(url: str) -> None:
    async def look(environment: WebEnvironment) -> str:
        return environment.observe().headings[0]

    assert visit(url, PHONE, look) == "Welcome ?1"
    assert visit(url, ZOOMED, look) == "Welcome None"


async def journey(url: str, access: AccessibilityNeeds, task: str, done: Success, person: Person) -> list[str]:
    """Kinds of what was done, and `succeeded` if it was."""
    mind, kinds = HeuristicMind(), list[str]()
    memory: Json = {}
    environment = WebEnvironment({"url": url}, allow_private_hosts=True, access=access)
    await environment.open()
    try:
        for _ in range(80):
            seen = environment.observe()
            decision = await mind.decide(Turn(person, Assignment(task, done), seen, memory=memory, seed=1))
            memory = json.loads(json.dumps(decision.memory))
            kinds.append(decision.action.kind)
            await environment.act(decision.action)
            if succeeded(done, environment.observe()):
                return [*kinds, "succeeded"]
            if decision.action.kind in {"finish", "give_up"}:
                break
        return kinds
    finally:
        await environment.close()


@pytest.mark.parametrize("access", [KEYBOARD, AccessibilityNeeds(True, True, True)], ids=["keyboard", "all"])
def test_people_buy_what_they_came_for_all_the_same(access: AccessibilityNeeds) -> None:
    done = Success(url_contains="/order/confirmed/")

    async def everybody(url: str) -> list[list[str]]:
        people = generate_people(6, 5)
        return list(await asyncio.gather(*(journey(url, access, "Buy a blue mug", done, one) for one in people)))

    with serve_in_thread(create_shop()) as url:
        journeys = asyncio.run(everybody(url))
    assert sum(kinds[-1] == "succeeded" for kinds in journeys) >= 4, [kinds[-1] for kinds in journeys]


def test_what_is_further_down_is_found_by_scrolling_there(url: str) -> None:
    for person in generate_people(6, 5):
        kinds = asyncio.run(journey(url, PHONE, "Find the imprint", Success(url_contains="/imprint"), person))
        assert kinds[-2:] == ["follow", "succeeded"]
        assert set(kinds[:-2]) == {"scroll"}


def test_who_has_scrolled_through_all_of_a_page_does_something_else(url: str) -> None:
    [person] = generate_people(1, 5)
    task, done = "Read about purple elephants", Success(url_contains="/never")
    kinds = asyncio.run(journey(url, PHONE, task, done, person))
    assert kinds[0] == "scroll"
    assert kinds[-1] == "give_up"
    assert len(set(kinds)) > 2


def test_of_a_long_chat_the_end_is_in_view() -> None:
    async def go(url: str, access: AccessibilityNeeds) -> str:
        content = {"environment": "chat", "url": f"{url}/v1", "protocol": "openai"}
        environment = ChatEnvironment(content, allow_private_hosts=True, access=access)
        await environment.open()
        for number in range(12):
            await environment.act(Action("say", value=f"Question {number} about shipping"))
        await environment.close()
        return environment.observe().text

    with serve_in_thread(create_chatbot()) as url:
        whole, part = (asyncio.run(go(url, access)) for access in (AccessibilityNeeds(), PHONE))
    assert len(part) == PHONE.visible_chars < len(whole)
    assert whole.endswith(part)
