"""The resolver: who asks for a dead name waits alone, and only an answer says that a name has no address."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.name_server import NameServer
from understudy.isolation import resolver as resolver_module
from understudy.isolation.resolver import Resolver


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer({"shop.test": "127.0.0.5"}) as server:
        yield server


def use(server: NameServer, scene: Callable[[Resolver], Awaitable[object]]) -> object:
    async def go() -> object:
        resolver = Resolver([server.address])
        try:
            return await scene(resolver)
        finally:
            await resolver.close()

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("shop.test", ["127.0.0.5"]),
        ("2130706433", ["127.0.0.1"]),
        ("0x7f.1", ["127.0.0.1"]),
        ("127.1", ["127.0.0.1"]),
        ("10.0.0.1.", ["10.0.0.1"]),
    ],
)
def test_resolver_returns_the_addresses_of_a_host(server: NameServer, host: str, addresses: list[str]) -> None:
    assert use(server, lambda resolver: resolver.resolve(host)) == addresses


@pytest.mark.parametrize(
    ("host", "error"),
    [
        ("none.test", socket.EAI_NONAME),
        ("a..b", socket.EAI_NONAME),
        ("x" * 300, socket.EAI_NONAME),
        ("1.2.3.4.5", socket.EAI_NONAME),
        ("999.1", socket.EAI_NONAME),
        ("shop.0x", socket.EAI_NONAME),
        ("one.dead.test", socket.EAI_AGAIN),
        ("one.broken.test", socket.EAI_AGAIN),
    ],
)
def test_resolver_without_an_address_tells_no_such_name_from_no_answer(
    server: NameServer, monkeypatch: pytest.MonkeyPatch, host: str, error: int
) -> None:
    monkeypatch.setattr(resolver_module, "LOOKUP_TIMEOUT_S", 0.5)
    with pytest.raises(socket.gaierror) as raised:
        use(server, lambda resolver: resolver.resolve(host))
    assert raised.value.errno == error


def test_resolver_answers_while_a_thousand_dead_names_wait(server: NameServer) -> None:
    async def scene(resolver: Resolver) -> list[list[str]]:
        dead = [asyncio.create_task(resolver.resolve(f"n{number}.dead.test")) for number in range(1_000)]
        await asyncio.sleep(0)
        found = [await resolver.resolve("shop.test"), await resolver.resolve("localhost")]
        assert not any(task.done() for task in dead)
        for task in dead:
            task.cancel()
        return found

    shop, local = use(server, scene)  # type: ignore[misc]
    assert shop == ["127.0.0.5"]
    assert "127.0.0.1" in local


def test_runs_that_ask_for_one_name_share_its_lookup_and_an_aborted_run_does_not_end_it(server: NameServer) -> None:
    async def scene(resolver: Resolver) -> list[list[str]]:
        first, *others = [asyncio.create_task(resolver.resolve("shop.test")) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(*others)

    assert use(server, scene) == [["127.0.0.5"]] * 19
    assert server.asked["shop.test"] == 1
