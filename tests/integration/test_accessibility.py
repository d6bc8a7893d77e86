"""Accessibility needs of people in environments: small screens, no pointer, high zoom."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from tests.environments import Journey, act, simulate, stored, use
from tests.servers import serve_in_thread
from understudy.deploy.chatbot.app import create_chatbot
from understudy.deploy.shop.app import create_shop
from understudy.domain.accessibility import AccessibilityNeeds
from understudy.domain.people import generate_people
from understudy.domain.simulation import Action, Assignment, Observation, Success
from understudy.domain.success import succeeded
from understudy.domain.typed_text import TypedText
from understudy.environments.chat import ChatEnvironment
from understudy.environments.viewport import windows
from understudy.environments.web import WebEnvironment
from understudy.plugins.url_patterns import matches

T = TypeVar("T")

PHONE, KEYBOARD, ZOOMED, BOTH = (
    AccessibilityNeeds(small_viewport=True),
    AccessibilityNeeds(no_pointer=True),
    AccessibilityNeeds(high_zoom=True),
    AccessibilityNeeds(small_viewport=True, high_zoom=True),
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
    url: str, access: AccessibilityNeeds, scene: Callable[[WebEnvironment], Awaitable[T]], snapshot: Any = None
) -> T:
    environment = WebEnvironment({"url": url}, allow_private_hosts=True, access=access)
    return asyncio.run(use(environment, scene, snapshot))


async def observe(environment: WebEnvironment) -> Observation:
    return environment.observe()


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
def test_accessibility_needs_follow_from_the_traits(traits: Any, access: AccessibilityNeeds) -> None:
    assert AccessibilityNeeds.from_traits(traits) == access


@pytest.mark.parametrize("text", ["", "word", "x" * 2_000, "ab cd " * 500, " " * 700])
def test_windows_cover_each_part_of_a_text_once(text: str) -> None:
    found = windows(text, 300)
    assert "".join(text[window.start : window.end] for window in found) == text
    assert all(0 < window.end - window.start <= 300 for window in found) or not text


async def scroll(environment: WebEnvironment) -> list[Observation]:
    """All parts of the page, and the first one again."""
    seen = [environment.observe()]
    while len(seen) < 20 and (len(seen) == 1 or seen[-1].text != seen[0].text):
        seen.append(await act(environment, "scroll"))
    return seen


def test_whole_page_has_nothing_to_scroll(url: str) -> None:
    first, scrolled = visit(url, AccessibilityNeeds(), scroll)
    assert "scroll" not in first.actions
    assert scrolled.problem == "All of the page is in view."


@pytest.mark.parametrize("access", [PHONE, ZOOMED, BOTH], ids=["phone", "zoomed", "both"])
def test_parts_of_a_page_are_bounded_and_together_the_page(url: str, access: AccessibilityNeeds) -> None:
    whole = visit(url, AccessibilityNeeds(), observe)
    *parts, again = visit(url, access, scroll)
    assert again.text == parts[0].text
    assert max(len(part.text) for part in parts) <= (access.visible_chars or 0)
    wholes = {str(part.whole).replace("Welcome ?1", "Welcome None") for part in parts if "scroll" in part.actions}
    assert wholes == {whole.text}
    assert [label for part in parts for label in labels(part)] == labels(whole)
    assert labels(parts[0])[0] == "Top offers"
    assert labels(parts[-1])[-1] == "Imprint"
    assert ["Order" in part.headings for part in (parts[0], parts[-1])] == [False, True]
    # A success condition uses the whole page.
    assert succeeded(Success(text_contains="line 199 of"), parts[0], TypedText(), matches)


def test_more_needs_show_smaller_parts(url: str) -> None:
    counts = [len(visit(url, access, scroll)) for access in (PHONE, ZOOMED, BOTH)]
    assert 2 < counts[0] < counts[1] < counts[2]


def test_control_out_of_view_cannot_be_used_and_a_snapshot_keeps_the_view(url: str) -> None:
    send = next(e for e in visit(url, AccessibilityNeeds(), observe).elements if e.label == "Send")

    async def scroll_to_send(environment: WebEnvironment) -> Any:
        await environment.act(Action("press", send.number))
        assert environment.observe().problem == '"Send" is not in view.'
        for _ in range(20):
            if "Send" in labels(await act(environment, "scroll")):
                break
        return stored(environment.snapshot())

    async def press(environment: WebEnvironment) -> str:
        return (await act(environment, "press", "Send")).title

    snapshot = visit(url, PHONE, scroll_to_send)
    assert visit(url, PHONE, press, snapshot) == "Sent"
    old = {name: value for name, value in snapshot.items() if name != "above"}
    assert "Top offers" in labels(visit(url, PHONE, observe, old))


@pytest.mark.parametrize(("kind", "label"), [("press", "Quick buy"), ("follow", "Hover menu")])
def test_control_that_needs_a_pointer_is_hidden_without_one(url: str, kind: str, label: str) -> None:
    (control,) = (e for e in visit(url, AccessibilityNeeds(), observe).elements if e.label == label)

    async def use_it(environment: WebEnvironment) -> str:
        await environment.act(Action(kind, control.number))
        return environment.observe().problem

    assert visit(url, KEYBOARD, use_it) == f'"{label}" cannot be reached with the keyboard.'
    assert labels(visit(url, KEYBOARD, observe)) == ["Top offers", "Name", "Send", "Imprint"]


@pytest.mark.parametrize(("access", "hint"), [(PHONE, "?1"), (ZOOMED, "None")], ids=["phone", "zoomed"])
def test_request_says_whether_the_client_is_a_phone(url: str, access: AccessibilityNeeds, hint: str) -> None:
    assert visit(url, access, observe).headings[0] == f"Welcome {hint}"


def journeys(url: str, access: AccessibilityNeeds, task: str, done: Success, people: int = 6) -> list[Journey]:
    async def scene() -> list[Journey]:
        visits = [WebEnvironment({"url": url}, allow_private_hosts=True, access=access) for _ in range(people)]
        return await asyncio.gather(
            *map(partial(simulate, assignment=Assignment(task, done), cap=80), visits, generate_people(people, 5))
        )

    return asyncio.run(scene())


@pytest.mark.parametrize("access", [KEYBOARD, AccessibilityNeeds(True, True, True)], ids=["keyboard", "all"])
def test_people_with_needs_can_buy(access: AccessibilityNeeds) -> None:
    with serve_in_thread(create_shop()) as url:
        ends = [one.end for one in journeys(url, access, "Buy a blue mug", Success(url_contains="/order/confirmed/"))]
    assert ends.count("succeeded") >= 4, ends


def test_people_scroll_to_what_they_need(url: str) -> None:
    found = journeys(url, PHONE, "Find the imprint", Success(url_contains="/imprint"))
    assert [(set(one.kinds[:-1]), one.kinds[-1], one.end) for one in found] == [({"scroll"}, "follow", "succeeded")] * 6


def test_people_who_saw_the_whole_page_stop_scrolling(url: str) -> None:
    (one,) = journeys(url, PHONE, "Read about purple elephants", Success(url_contains="/never"), people=1)
    assert (one.kinds[0], one.end) == ("scroll", "give_up")
    assert len(set(one.kinds)) > 2


def test_end_of_a_long_chat_is_in_view() -> None:
    async def say(environment: ChatEnvironment) -> str:
        for number in range(12):
            seen = await act(environment, "say", value=f"Question {number} about shipping")
        return seen.text

    with serve_in_thread(create_chatbot()) as url:
        content = {"environment": "chat", "url": f"{url}/v1", "protocol": "openai"}
        whole, part = (
            asyncio.run(use(ChatEnvironment(content, allow_private_hosts=True, access=access), say))
            for access in (AccessibilityNeeds(), PHONE)
        )
    assert len(part) == PHONE.visible_chars < len(whole)
    assert whole.endswith(part)
