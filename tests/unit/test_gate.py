"""The gate in front of every endpoint: who comes in, and what is answered when the server goes down."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.rest.gate import Gate, Tokens
from shared.domain.errors import AuthFailed
from tests.servers import wait_until


def cut_off(monkeypatch: pytest.MonkeyPatch, path: str, *, begun: bool) -> list[Message]:
    """What a gate sends whose app hangs, before or in the middle of its answer, until it is cancelled."""
    sent: list[Message] = []

    async def workspace(*_: Any) -> UUID:
        return uuid4()

    monkeypatch.setattr(Gate, "_workspace", workspace)

    async def play() -> None:
        hangs = asyncio.Event()

        async def app(_: Scope, __: Receive, send: Send) -> None:
            if begun:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            hangs.set()
            await asyncio.sleep(60)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
        request = asyncio.create_task(Gate(app, SimpleNamespace())(scope, receive, send))  # type: ignore[arg-type]
        await hangs.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(play())
    return sent


@pytest.mark.parametrize("path", ["/v1/simulations/cancel", "/v1/simulations/extend"])
def test_a_request_that_is_cut_off_is_answered_in_words(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    start, body = cut_off(monkeypatch, path, begun=False)
    answer = json.loads(body["body"])
    assert (start["status"], answer["error_code"]) == (503, "service_unavailable")
    assert "may have been done" in answer["error"]
    assert answer.get("ok", False) is False


def test_an_answer_that_has_begun_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [message["type"] for message in cut_off(monkeypatch, "/v1/people", begun=True)] == [
        "http.response.start"
    ]


class Reads:
    """Reads of a store that can be held up; what is in `opens` when one begins is what it finds."""

    def __init__(self) -> None:
        self.opens: dict[str, UUID] = {}
        self.begun: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def look_up(self, secret: str) -> UUID:
        found = self.opens.get(secret)
        self.begun.append(secret)
        assert self.go_on.wait(20)
        if found is None:
            raise AuthFailed("unknown")
        return found

    async def until_begun(self, count: int) -> None:
        await asyncio.to_thread(wait_until, lambda: len(self.begun) >= count)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def test_thousands_with_one_token_are_two_reads(threads: ThreadPoolExecutor) -> None:
    reads, here = Reads(), uuid4()
    reads.opens["t"] = here
    reads.go_on.clear()

    async def play() -> None:
        tokens = Tokens(reads.look_up, threads)
        first = asyncio.create_task(tokens.workspace("t"))
        await reads.until_begun(1)
        others = [asyncio.create_task(tokens.workspace("t")) for _ in range(2_000)]
        # Another token's read waits behind none of these.
        reads.opens["u"] = uuid4()
        apart = asyncio.create_task(tokens.workspace("u"))
        await reads.until_begun(2)
        reads.go_on.set()
        assert set(await asyncio.gather(first, *others)) == {here}
        assert await apart == reads.opens["u"]

    asyncio.run(play())
    assert sorted(reads.begun) == ["t", "t", "u"]


def test_nobody_comes_in_by_a_read_that_began_before_they_asked(threads: ThreadPoolExecutor) -> None:
    reads = Reads()
    reads.opens["t"] = uuid4()
    reads.go_on.clear()

    async def play() -> None:
        tokens = Tokens(reads.look_up, threads)
        before = asyncio.create_task(tokens.workspace("t"))
        await reads.until_begun(1)
        del reads.opens["t"]  # revoked
        after = asyncio.create_task(tokens.workspace("t"))
        await asyncio.sleep(0.01)
        reads.go_on.set()
        await before
        with pytest.raises(AuthFailed):
            await after
        # Nothing is kept: neither what was found nor what was not.
        reads.opens["t"] = uuid4()
        assert await tokens.workspace("t") == reads.opens["t"]

    asyncio.run(play())


def test_who_gives_up_leaves_the_read_to_those_who_share_it(threads: ThreadPoolExecutor) -> None:
    reads, here = Reads(), uuid4()
    reads.opens["t"] = here
    reads.go_on.clear()

    async def play() -> None:
        tokens = Tokens(reads.look_up, threads)
        first = asyncio.create_task(tokens.workspace("t"))
        await reads.until_begun(1)
        gives_up, stays = (asyncio.create_task(tokens.workspace("t")) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        gives_up.cancel()
        await asyncio.sleep(0.01)
        reads.go_on.set()
        assert await stays == here

    asyncio.run(play())
    assert reads.begun == ["t", "t"]
