"""The demo shop over real HTTP, used by a client and by simulated people."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.environments import Journey, simulate
from tests.servers import serve_in_thread
from understudy.deploy.shop.app import create_shop
from understudy.deploy.shop.products import CATEGORIES, PRODUCTS, in_category, search
from understudy.deploy.shop.visitors import Visitors
from understudy.domain.people import generate_people
from understudy.domain.simulation import Assignment, Person, Success
from understudy.environments.web import WebEnvironment

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


PATHS = [
    *("/", "/catalogue", "/search?q=mug", "/search?q=", "/cart", "/about", "/shipping"),
    *(f"/catalogue?category={category}&page=2" for category in CATEGORIES),
    *(f"/product/{product.slug}" for product in PRODUCTS),
]


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_every_page_is_there_in_every_language(url: str, language: str) -> None:
    with shopper(url) as client:
        client.get("/language", params={"lang": language, "back": "/"})
        answers = {path: client.get(path) for path in PATHS}
    found = {path: (answer.status_code, f'<html lang="{language}">' in answer.text) for path, answer in answers.items()}
    assert found == dict.fromkeys(PATHS, (200, True))


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
        # The cart is empty now, and another visitor cannot see the order.
        assert client.get("/checkout").url.path == "/cart"
        with shopper(url) as other:
            assert other.get(confirmed.url.path).status_code == 404


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": " "}, "Please fill in: Full name."),
        ({"country": "Narnia", "zip": ""}, "Please fill in: Postal code, Country."),
        ({"email": "ada"}, "This is not an e-mail address."),
        ({"terms": None}, "Please accept the terms."),
        ({"phone": ""}, "Please check your entries."),
    ],
)
def test_invalid_order_is_returned_with_its_problem(url: str, change: dict[str, Any], problem: str) -> None:
    with shopper(url) as client:
        client.post("/cart/add", data={"product": "blue-mug"})
        order = {key: value for key, value in (ORDER | change).items() if value is not None}
        answer = client.post("/checkout", data=order)
        assert answer.url.path == "/checkout"
        assert problem in answer.text
        assert 'value="Mill Lane 3"' in answer.text


def test_sold_out_products_cannot_be_bought(url: str) -> None:
    with shopper(url) as client:
        assert "sold out" in client.get("/product/blue-mug-xl").text
        assert "Your cart is empty" in client.post("/cart/add", data={"product": "blue-mug-xl"}).text
        client.post("/cart/add", data={"product": "red-mug"})
        assert "Your cart is empty" in client.post("/cart/remove", data={"product": "red-mug"}).text


def test_newsletter_is_offered_once(url: str) -> None:
    with shopper(url) as client:
        titles = ["newsletter" in client.get(f"/product/{product.slug}").text for product in PRODUCTS[:5]]
    assert titles == [False, True, False, False, False]


@pytest.mark.parametrize("back", ["//evil.test/", "https://evil.test/", "/\\evil.test", "/x\r\nSet-Cookie: a=b"])
def test_language_picker_redirects_only_to_the_shop(url: str, back: str) -> None:
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
def test_shop_answers_unusual_requests_with_their_status(url: str, method: str, path: str, status: int) -> None:
    with shopper(url) as client:
        assert client.request(method, path).status_code == status
        assert client.post("/cart/add", content=b"x" * 100_000).status_code == 413


def test_number_of_visitors_in_memory_is_bounded() -> None:
    visitors = Visitors()
    first = visitors.get_or_create("")
    assert visitors.get_or_create(f"visit={first.key}") is first
    for _ in range(10_000):
        visitors.get_or_create("")
    assert visitors.get_or_create(f"visit={first.key}") is not first


def test_search_returns_the_best_match_first() -> None:
    assert search("blue mugs")[0].name == "Blue Mug"
    assert search("unobtainium") == ()
    assert search("") == ()
    assert len(in_category("")) == len(PRODUCTS)


def test_answers_take_the_configured_delay() -> None:
    async def ask() -> float:
        transport = httpx.ASGITransport(app=create_shop(delay_s=0.05))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
            began = asyncio.get_running_loop().time()
            await client.get("/")
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(ask()) >= 0.05


def journeys(url: str, count: int, task: str, success: Success | None = CONFIRMED) -> list[Journey]:
    async def scene() -> list[Journey]:
        people = generate_people(count, 5)
        return await asyncio.gather(*(simulate(web(url), person, Assignment(task, success)) for person in people))

    return asyncio.run(scene())


def web(url: str) -> WebEnvironment:
    return WebEnvironment({"url": url}, allow_private_hosts=True)


@pytest.mark.parametrize(
    "task",
    [
        "Buy a blue mug",
        "Order two red mugs",
        "Buy a present for a friend: choose something, put it into the cart and order it.",
    ],
)
def test_most_people_complete_their_task(url: str, task: str) -> None:
    done = journeys(url, 20, task)
    assert sum(journey.end == "succeeded" for journey in done) >= 17
    # Each in an individual way, and without controls that the task does not need.
    assert len({str(journey.actions) for journey in done}) > 10
    assert not {action.target for journey in done for action in journey.actions} & {"Language", "Change", "Subscribe"}


def test_same_person_acts_the_same_way_again(url: str) -> None:
    (first,), (second,) = (journeys(url, 1, "Buy a blue mug") for _ in range(2))
    assert [action.target for action in first.actions] == [action.target for action in second.actions]


def test_people_without_a_success_condition_finish_when_the_task_is_done(url: str) -> None:
    finished = [journey for journey in journeys(url, 10, "Buy a blue mug", None) if journey.end == "finish"]
    assert len(finished) >= 8
    assert all("/order/confirmed/" in journey.last.url for journey in finished)


@pytest.mark.parametrize("branch_point", [1, 4, 8])
def test_people_follow_an_instruction_and_then_their_task(url: str, branch_point: int) -> None:
    task = Assignment("Buy a blue mug", CONFIRMED)

    async def branch(person: Person) -> tuple[Journey, Journey]:
        source = await simulate(web(url), person, task, cap=30, max_steps=branch_point)
        cap = 30 - branch_point
        return source, await simulate(web(url), person, task, cap=cap, source=source, instruction=INSTRUCTION)

    async def scene() -> list[tuple[Journey, Journey]]:
        return await asyncio.gather(*map(branch, generate_people(10, 5)))

    branches = asyncio.run(scene())
    first = [[(one.kind, one.target) for one in child.actions[:2]] for _, child in branches]
    assert first == [[("choose", "Language"), ("press", "Change")]] * 10
    assert {child.actions[0].value for _, child in branches} == {"DE"}
    assert "Language" not in {action.target for source, _ in branches for action in source.actions}
    assert [(child.end, child.last.headings) for _, child in branches] == [
        ("succeeded", ("Bestellung bestätigt",))
    ] * 10


@pytest.mark.parametrize("path", ["/cart/add", "/checkout", "/newsletter"])
def test_visitor_who_leaves_before_the_form_has_arrived_leaves_no_traceback(path: str) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", b"9")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    asyncio.run(create_shop()({**scope, "raw_path": path.encode(), "root_path": ""}, receive, send))
    assert sent[0]["status"] == 499
