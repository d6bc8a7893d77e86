"""The demo shop, by hand and by simulated people: environment and mind together, over real HTTP."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.servers import serve_in_thread
from understudy.deploy.shop.app import create_shop
from understudy.deploy.shop.products import CATEGORIES, PRODUCTS, in_category, search
from understudy.deploy.shop.visitors import Visitors
from understudy.domain.people import generate_people
from understudy.domain.simulation import Action, Assignment, Observation, Person, Success, Turn, succeeded
from understudy.environments.web import WebEnvironment
from understudy.minds.heuristic import HeuristicMind

ORDER = {
    "name": "Ada Löve <b>",
    "email": "ada@example.org",
    "phone": "+49 30 123456",
    "address": "Mill Lane 3",
    "zip": "10115",
    "country": "DE",
    "terms": "on",
}
CONFIRMED = Success(url_contains="/order/confirmed")
INSTRUCTION = "Stop browsing - switch to the German picker."


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve_in_thread(create_shop()) as address:
        yield address


def shopper(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, follow_redirects=True, trust_env=False)


# By hand


def test_every_page_is_there_in_every_language(url: str) -> None:
    paths = ["/", "/catalogue", "/search?q=mug", "/search?q=", "/cart", "/about", "/shipping"]
    paths += [f"/catalogue?category={category}&page=2" for category in CATEGORIES]
    paths += [f"/product/{product.slug}" for product in PRODUCTS]
    with shopper(url) as client:
        for language in ("en", "de", "fr"):
            client.get("/language", params={"lang": language, "back": "/"})
            for path in paths:
                answer = client.get(path)
                assert answer.status_code == 200, path
                assert f'<html lang="{language}">' in answer.text


@pytest.mark.parametrize(
    ("language", "title"),
    [("en", "Order confirmed"), ("de", "Bestellung bestätigt"), ("fr", "Commande confirmée")],
)
def test_an_order_can_be_completed(url: str, language: str, title: str) -> None:
    with shopper(url) as client:
        answer = client.get("/language", params={"lang": language, "back": "/cart?x=1"})
        assert answer.url.path == "/cart"
        cart = client.post("/cart/add", data={"product": "blue-mug", "quantity": "2"})
        assert cart.url.path == "/cart"
        assert "2 &times; €12.90" in cart.text
        assert "€25.80" in cart.text
        confirmed = client.post("/checkout", data=ORDER)
        assert confirmed.url.path.startswith("/order/confirmed/")
        assert title in confirmed.text
        assert "Ada Löve &lt;b&gt;" in confirmed.text
        # The cart is empty now, and nobody else sees the order.
        assert client.get("/checkout").url.path == "/cart"
        with shopper(url) as other:
            assert other.get(confirmed.url.path).status_code == 404


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": " "}, "Please fill in: Full name."),
        ({"country": "Narnia", "zip": ""}, "Please fill in: Postal code, Country."),
        ({"email": "ada"}, "This is not an e-mail address."),
        ({"terms": None}, "Please accept the terms."),
        ({"phone": ""}, "Please check your entries."),
    ],
)
def test_what_is_wrong_with_an_order_is_said(url: str, change: dict[str, Any], says: str) -> None:
    with shopper(url) as client:
        client.post("/cart/add", data={"product": "blue-mug"})
        order = {key: value for key, value in (ORDER | change).items() if value is not None}
        answer = client.post("/checkout", data=order)
        assert answer.url.path == "/checkout"
        assert says in answer.text
        assert 'value="Mill Lane 3"' in answer.text


def test_what_is_sold_out_does_not_get_into_the_cart(url: str) -> None:
    with shopper(url) as client:
        assert "sold out" in client.get("/product/blue-mug-xl").text
        assert "Your cart is empty" in client.post("/cart/add", data={"product": "blue-mug-xl"}).text
        client.post("/cart/add", data={"product": "red-mug"})
        assert "Your cart is empty" in client.post("/cart/remove", data={"product": "red-mug"}).text


def test_the_newsletter_gets_in_the_way_once(url: str) -> None:
    with shopper(url) as client:
        titles = ["newsletter" in client.get(f"/product/{product.slug}").text for product in PRODUCTS[:5]]
    assert titles == [False, True, False, False, False]


@pytest.mark.parametrize("back", ["//evil.test/", "https://evil.test/", "/\\evil.test", "/x\r\nSet-Cookie: a=b"])
def test_the_language_picker_leads_nowhere_else(url: str, back: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        answer = client.get("/language", params={"lang": "de", "back": back})
        assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/product/none", 404),
        ("GET", "/catalogue?category=none", 404),
        ("GET", "/catalogue?page=99999999", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/order/confirmed/1", 404),
        ("POST", "/cart/add", 404),
        ("GET", "/openapi.json", 404),
    ],
)
def test_odd_requests(url: str, method: str, path: str, status: int) -> None:
    with shopper(url) as client:
        assert client.request(method, path).status_code == status
        assert client.post("/cart/add", content=b"x" * 100_000).status_code == 413


def test_visitors_are_forgotten_not_hoarded() -> None:
    visitors = Visitors()
    first = visitors.get_or_create("")
    assert visitors.get_or_create(f"visit={first.key}") is first
    for _ in range(10_000):
        visitors.get_or_create("")
    assert visitors.get_or_create(f"visit={first.key}") is not first


def test_the_search_finds_what_fits_best() -> None:
    assert search("blue mugs")[0].name == "Blue Mug"
    assert search("unobtainium") == ()
    assert search("") == ()
    assert len(in_category("")) == len(PRODUCTS)


def test_answers_can_be_made_to_take_their_time() -> None:
    async def ask() -> float:
        transport = httpx.ASGITransport(app=create_shop(delay_s=0.05))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
            began = asyncio.get_running_loop().time()
            await client.get("/")
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(ask()) >= 0.05


# By simulated people


@dataclass
class Journey:
    """What became of somebody's visit."""

    end: str = "cap"
    actions: list[Action] = field(default_factory=list)
    last: Observation | None = None


async def walk(
    url: str,
    person: Person,
    task: str,
    success: Success | None,
    *,
    seed: int = 1,
    cap: int = 20,
    told_at: int | None = None,
) -> Journey:
    """The loop of a worker, without the worker. At `told_at` another one takes the run up again."""
    mind, journey = HeuristicMind(), Journey()
    memory: dict[str, Any] = {}
    environment = WebEnvironment({"url": url}, allow_private_hosts=True)
    await environment.open()
    try:
        for turn in range(cap):
            if turn == told_at:
                snapshot = json.loads(json.dumps(environment.snapshot()))
                await environment.close()
                environment = WebEnvironment({"url": url}, allow_private_hosts=True)
                await environment.restore(snapshot)
            told = told_at is not None and turn >= told_at
            decision = await mind.decide(
                Turn(
                    person=person,
                    assignment=Assignment(task, success),
                    observation=environment.observe(),
                    instruction=INSTRUCTION if told else None,
                    resumed=turn == told_at,
                    memory=memory,
                    seed=seed,
                    remaining=cap - turn,
                )
            )
            memory = json.loads(json.dumps(decision.memory))
            journey.actions.append(decision.action)
            if decision.action.kind in ("finish", "give_up"):
                journey.end = decision.action.kind
                break
            await environment.act(decision.action)
            if succeeded(success, environment.observe()):
                journey.end = "succeeded"
                break
        journey.last = environment.observe()
        return journey
    finally:
        await environment.close()


def walk_all(url: str, people: Sequence[Person], task: str, success: Success | None, **how: Any) -> list[Journey]:
    async def everybody() -> list[Journey]:
        return list(await asyncio.gather(*(walk(url, person, task, success, **how) for person in people)))

    return asyncio.run(everybody())


@pytest.mark.parametrize(
    "task",
    [
        "Buy a blue mug",
        "Order two red mugs",
        "Buy a present for a friend: choose something, put it into the cart and order it.",
    ],
)
def test_most_people_get_what_they_came_for(url: str, task: str) -> None:
    journeys = walk_all(url, generate_people(20, 5), task, CONFIRMED)
    assert sum(journey.end == "succeeded" for journey in journeys) >= 17
    # Each in their own way, and nobody touches what is none of their business.
    assert len({str(journey.actions) for journey in journeys}) > 10
    used = {action.target for journey in journeys for action in journey.actions}
    assert not used & {"Language", "Change", "Subscribe"}


def test_the_same_person_goes_the_same_way_again(url: str) -> None:
    [person] = generate_people(1, 5)
    first, second = (walk_all(url, [person], "Buy a blue mug", CONFIRMED)[0] for _ in range(2))
    assert [action.target for action in first.actions] == [action.target for action in second.actions]


def test_without_a_condition_they_know_when_they_are_done(url: str) -> None:
    journeys = walk_all(url, generate_people(10, 5), "Buy a blue mug", None)
    finished = [journey for journey in journeys if journey.end == "finish"]
    assert len(finished) >= 8
    assert all(journey.last and "/order/confirmed/" in journey.last.url for journey in finished)


@pytest.mark.parametrize("told_at", [1, 4, 8])
def test_told_to_switch_to_the_german_picker_they_do(url: str, told_at: int) -> None:
    people = generate_people(10, 5)
    for journey in walk_all(url, people, "Buy a blue mug", CONFIRMED, told_at=told_at, cap=30):
        before, (choose, press) = journey.actions[:told_at], journey.actions[told_at : told_at + 2]
        assert (choose.kind, choose.target, choose.value) == ("choose", "Language", "DE")
        assert (press.kind, press.target) == ("press", "Change")
        assert not any(action.target == "Language" for action in before)
        # And then back to the task, in German.
        assert journey.end == "succeeded"
        assert journey.last
        assert journey.last.headings == ("Bestellung bestätigt",)
