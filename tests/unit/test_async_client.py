"""The asynchronous client alone: it never blocks its event loop. test_parity compares all methods."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fake_api import DISPATCHED, STUDY
from understudy.client import AsyncUnderstudy, ServiceUnavailable, Understudy, ValidationError, event_reader, retries
from understudy.client.prepared_call import prepare

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class SlowServer(httpx.AsyncBaseTransport):
    """Answers after `delay_s` with the given statuses and bodies; the last answer stays."""

    def __init__(self, *answers: tuple[int, object], delay_s: float = 0.0) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.delay_s = delay_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await asyncio.sleep(self.delay_s)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, Exception):
            raise body
        if isinstance(body, bytes):
            return httpx.Response(status, content=body, headers={"content-type": "text/event-stream"})
        return httpx.Response(status, json=body)


def client_of(server: SlowServer, **options: int) -> AsyncUnderstudy:
    return AsyncUnderstudy("http://127.0.0.1:1", "secret", transport=server, **options)


async def test_a_waiting_call_does_not_block_the_event_loop() -> None:
    server = SlowServer((202, DISPATCHED), delay_s=0.5)
    async with client_of(server) as understudy:
        began = time.monotonic()
        waiting = asyncio.create_task(understudy.simulation_wait(["t-1f3"]))
        pings = 0
        while not waiting.done():
            await asyncio.sleep(0.01)
            pings += 1
        assert (await waiting).ok
    assert pings > (time.monotonic() - began) / 0.05


async def test_a_list_of_all_items_reads_every_page() -> None:
    pages = [(200, {"items": [STUDY], "next_cursor": cursor}) for cursor in ("c1", "c2", None)]
    server = SlowServer(*pages)
    async with client_of(server) as understudy:
        found = [study.alias async for study in understudy.study_list_all(limit=1)]
    assert found == ["s-b2c"] * 3
    assert [request.url.params.get("cursor") for request in server.requests] == [None, "c1", "c2"]


async def test_events_resume_after_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_reader, "RECONNECT_DELAY_S", 0.001)
    data = '{"participant_id": "1f3a0000-0000-4000-8000-000000000001", "seq": 1, "at": "2026-11-22T10:00:00Z"}'
    frames = [f"id: {n}\nevent: stopped\ndata: {data}\n\n".encode() for n in (1, 2)]
    server = SlowServer((200, frames[0]), (200, httpx.ReadError("lost")), (200, frames[1]))
    async with client_of(server) as understudy:
        events: AsyncIterator[object] = understudy.events(study_id="s-b2c")
        assert [(await anext(events)).id for _ in range(2)] == [1, 2]  # type: ignore[attr-defined]
    assert [request.headers.get("last-event-id") for request in server.requests] == [None, "1", "1"]


@pytest.mark.parametrize(("most", "sent"), [(0, 1), (2, 3)])
async def test_a_start_is_retried_only_on_request_and_with_one_key(
    monkeypatch: pytest.MonkeyPatch, most: int, sent: int
) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 0.001)
    server = SlowServer((200, httpx.ReadError("lost")), (200, httpx.ConnectError("away")), (202, DISPATCHED))
    async with client_of(server, retries=most) as understudy:
        if most:
            assert (await understudy.study_run("s-b2c", sample=1)).ok
        else:
            with pytest.raises(ServiceUnavailable):
                await understudy.study_run("s-b2c", sample=1)
    keys = {request.headers.get("idempotency-key") for request in server.requests}
    assert (len(server.requests), len(keys), None in keys) == (sent, 1, not most)


async def test_a_client_that_is_closed_leaves_nothing_open() -> None:
    understudy = client_of(SlowServer((200, STUDY)))
    await understudy.study_get("s-b2c", "full")
    await understudy.aclose()


def test_arguments_that_exclude_each_other_are_refused_before_anything_is_sent() -> None:
    with Understudy("http://127.0.0.1:1", "secret") as understudy:
        with pytest.raises(ValidationError, match="either person or generate"):
            understudy.person_create({"name": "Ana"}, generate=3)  # type: ignore[call-overload]
        with pytest.raises(ValidationError, match="must be a list"):
            understudy.person_list(country="DE")


def test_false_is_left_out_only_where_it_is_the_default() -> None:
    assert prepare("person_create", {"name": "Ana", "bio": False}).body == {"name": "Ana", "bio": False}
    assert prepare("study_run", {"study_id": "s-b2c", "sample": 1, "wait": False}).body == {"sample": 1}
