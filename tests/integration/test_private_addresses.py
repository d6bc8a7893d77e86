"""No site, chatbot or model server leads a participant to a private address, also where these are allowed.

Here 127.0.0.1 counts as public, and a server that counts its requests listens on a private address.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.environments import act, stored, use
from tests.inside import PRIVATE_HOST, REBOUND, Inside, Names, Site
from tests.servers import serve_in_thread
from understudy.domain import addresses
from understudy.domain.addresses import AllowedAddresses
from understudy.domain.network_lists import parse_allowed
from understudy.domain.simulation import Observation
from understudy.environments import EnvironmentUnreachable
from understudy.environments.chat import ChatEnvironment
from understudy.environments.web import WebEnvironment
from understudy.models import ModelFailed
from understudy.models.endpoint.endpoint import Endpoint
from understudy.models.profiles import Profile
from understudy.plugins.time_limits import start_timer

ALL = AllowedAddresses.of(all_private=True)
TARGETS = (PRIVATE_HOST, "[::ffff:127.0.0.9]", "2130706441", "inside.test", REBOUND)


@pytest.fixture
def inside() -> Iterator[Inside]:
    with Inside() as server:
        yield server


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, int]]:
    monkeypatch.setattr(addresses, "is_public_ip", lambda ip: str(ip) == "127.0.0.1")
    site = Site()
    with serve_in_thread(site) as url:
        yield site, int(url.rsplit(":", 1)[1])


STEPS: list[tuple[str, str, str]] = [
    *((code, "", "") for code in ("301", "302", "303", "307", "308")),
    ("refresh", "", ""),
    ("base", "follow", "there"),
    ("hop", "follow", "there"),
    ("page", "follow", "there"),
    ("page", "press", "Get"),
    ("page", "press", "Post"),
    ("page", "press", "Formaction"),
    ("page", "choose", "Pick"),
]


def visit(
    start: str, kind: str, label: str, *, allowed: AllowedAddresses = ALL, names: Any = None, resumed: bool = False
) -> str:
    """Opens the start page, acts once, and returns the problem; `resumed`: acts in an environment that was restored."""
    names = names or Names()

    def environment() -> WebEnvironment:
        return WebEnvironment({"url": start}, allow_private_hosts=True, addresses=allowed, resolver=names)

    async def look(opened: WebEnvironment) -> Any:
        return stored(opened.snapshot())

    async def do(opened: WebEnvironment) -> Observation:
        return await act(opened, kind, label, "two") if kind else opened.observe()

    async def go() -> str:
        try:
            snapshot = await use(environment(), look) if resumed else None
            return (await use(environment(), do, snapshot)).problem
        except EnvironmentUnreachable as problem:
            return str(problem)

    return asyncio.run(go())


@pytest.mark.parametrize("resumed", [False, True], ids=["opened", "resumed"])
@pytest.mark.parametrize(("way", "kind", "label"), STEPS, ids=lambda text: text or "none")
def test_public_start_page_leads_to_no_private_address(
    served: tuple[Site, int], inside: Inside, way: str, kind: str, label: str, resumed: bool
) -> None:
    for target in TARGETS:
        for start in ("127.0.0.1", "public.test", "mixed.test"):
            names = Names()
            # This name has been looked up once.
            names.asked = 1
            url = f"http://{start}:{served[1]}/{way}?http://{target}:{inside.port}/secret"
            problem = visit(url, kind, label, names=names, resumed=resumed)
            assert "There is no site at this address" in problem, (start, target)
    assert inside.requests == []


@pytest.mark.parametrize("resumed", [False, True], ids=["opened", "resumed"])
def test_rebound_name_of_the_start_page_leads_to_no_private_address(
    served: tuple[Site, int], inside: Inside, resumed: bool
) -> None:
    names = Names("start.test")
    url = f"http://start.test:{inside.port}/page"
    with Inside("127.0.0.1", inside.port) as outside:
        problem = visit(url, "follow", "there", names=names, resumed=resumed)
    assert (names.asked, inside.requests, outside.requests) == (2, [], ["GET /page"])
    assert "start.test is unknown, or it has a private address" in problem


@pytest.mark.parametrize("resumed", [False, True], ids=["opened", "resumed"])
@pytest.mark.parametrize("start", [PRIVATE_HOST, "inside.test"])
def test_private_start_page_leads_to_private_addresses(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, start: str, resumed: bool
) -> None:
    monkeypatch.setattr(addresses, "is_public_ip", lambda ip: str(ip) == "127.0.0.1")
    assert visit(f"http://{start}:{inside.port}/", "wait", "", resumed=resumed) == ""
    assert inside.requests == ["GET /"]
    other = AllowedAddresses(addresses._networks("10.0.0.0/8"))
    assert "unknown, or" in visit(f"http://{start}:{inside.port}/", "wait", "", allowed=other)
    assert inside.requests == ["GET /"]


@pytest.mark.parametrize(("start", "problem"), [("public.test", "unknown, or"), ("inside.test", "")])
def test_start_page_decides_about_a_snapshot_of_an_earlier_version(
    served: tuple[Site, int], inside: Inside, start: str, problem: str
) -> None:
    port = served[1] if start == "public.test" else inside.port

    def environment() -> WebEnvironment:
        return WebEnvironment({"url": f"http://{start}:{port}/"}, allow_private_hosts=True, resolver=Names())

    async def look(opened: WebEnvironment) -> Any:
        return stored(opened.snapshot())

    async def go() -> Observation:
        link = WebEnvironment(
            {"url": f"http://public.test:{served[1]}/page?http://{PRIVATE_HOST}:{inside.port}/"},
            allow_private_hosts=True,
            resolver=Names(),
        )
        snapshot = await use(link, look)
        del snapshot["from_public"]
        inside.requests.clear()
        return await use(environment(), lambda opened: act(opened, "follow", "there"), snapshot)

    seen = asyncio.run(go())
    assert problem in seen.problem
    assert inside.requests == ([] if problem else ["GET /"])


def bot(url: str) -> dict[str, Any]:
    request = {"request": {"text": "{message}"}, "response_path": "reply"}
    return {"environment": "chat", "protocol": "json", "url": url, "headers": {}, **request}


def chat(url: str, names: Names, snapshot: Any = None) -> tuple[str, Any]:
    """Says one message; what the person sees or why the run fails, and the snapshot."""
    environment = ChatEnvironment(bot(url), allow_private_hosts=True, resolver=names)

    async def talk(opened: ChatEnvironment) -> tuple[str, Any]:
        seen = await act(opened, "say", value="hi")
        return str(seen.news), stored(opened.snapshot())

    try:
        return asyncio.run(use(environment, talk, snapshot))
    except EnvironmentUnreachable as problem:
        return str(problem), None


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("code", [307, 308])
def test_chatbot_redirects_to_no_private_address(
    served: tuple[Site, int], inside: Inside, target: str, code: int
) -> None:
    names = Names()
    names.asked = 1
    said, _ = chat(f"http://127.0.0.1:{served[1]}/{code}?http://{target}:{inside.port}/", names)
    assert "unknown, or it has a private address" in said
    assert inside.requests == []


def test_rebound_chatbot_gets_no_message_at_a_private_address(served: tuple[Site, int], inside: Inside) -> None:
    names = Names("bot.test")
    said, snapshot = chat(f"http://bot.test:{served[1]}/answer", names)
    assert said == "Hello"
    for state in (snapshot, {**snapshot, "from_public": True}):
        said, _ = chat(f"http://bot.test:{inside.port}/answer", names, state)
        assert "bot.test is unknown, or it has a private address" in said
    assert inside.requests == []
    said, _ = chat(f"http://{PRIVATE_HOST}:{inside.port}/", names)
    assert inside.requests == ["POST /"], said


class UnlimitedQuota:
    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        yield

    async def spent(self, tokens: int) -> None:
        pass


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_model_server_redirects_to_no_other_address(served: tuple[Site, int], inside: Inside, code: int) -> None:
    base_url = f"http://127.0.0.1:{served[1]}/{code}?http://{PRIVATE_HOST}:{inside.port}/"

    async def go() -> None:
        start_timer(60)
        endpoint = Endpoint("default", Profile.model_validate({"model": "m", "base_url": base_url, "retries": 0}))
        try:
            await endpoint.ask([{"role": "user", "content": "hi"}], {}, UnlimitedQuota())
        finally:
            await endpoint.close()

    with pytest.raises(ModelFailed, match=rf"answered with a redirect \({code}\)") as failure:
        asyncio.run(go())
    assert inside.requests == []
    assert PRIVATE_HOST not in str(failure.value.told)


def test_private_and_unknown_hosts_get_the_same_answer(served: tuple[Site, int], inside: Inside) -> None:
    def answers(ask: Callable[[str], str]) -> set[str]:
        hosts = ("inside.test", "nowhere.test", PRIVATE_HOST, "169.254.169.254")
        return {ask(host).replace(host, "HOST") for host in hosts}

    none = AllowedAddresses()
    starts = answers(lambda host: visit(f"http://{host}:{inside.port}/", "", "", allowed=none))
    links = answers(
        lambda host: visit(f"http://127.0.0.1:{served[1]}/page?http://{host}:{inside.port}/", "follow", "there")
    )
    redirects = answers(lambda host: chat(f"http://127.0.0.1:{served[1]}/307?http://{host}:{inside.port}/", Names())[0])
    assert (len(starts), len(links), len(redirects)) == (1, 1, 1)
    assert inside.requests == []


@pytest.mark.parametrize(
    ("allowed", "denied", "requests"),
    [
        ("127.0.0.8/30", "", 1),
        ("10.0.0.0/8, fd00::/8", "", 0),
        ("loopback", "127.0.0.9", 0),
        ("true", "127.0.0.0/8", 0),
        ("false", "", 0),
    ],
)
def test_operator_lists_the_networks_of_participants(inside: Inside, allowed: str, denied: str, requests: int) -> None:
    visit(f"http://{PRIVATE_HOST}:{inside.port}/", "", "", allowed=parse_allowed(allowed, denied))
    assert len(inside.requests) == requests
