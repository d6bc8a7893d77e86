"""The gate in front of every endpoint: what is answered when the server goes down under a request."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.types import Message, Receive, Scope, Send

from understudy.admission.middleware import AdmissionMiddleware


def cut_off(monkeypatch: pytest.MonkeyPatch, path: str, *, begun: bool) -> list[Message]:
    """What a gate sends whose app hangs, before or in the middle of its answer, until it is cancelled."""
    sent: list[Message] = []

    async def workspace(*_: Any) -> UUID:
        return uuid4()

    monkeypatch.setattr(AdmissionMiddleware, "_workspace", workspace)

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
        request = asyncio.create_task(AdmissionMiddleware(app, SimpleNamespace())(scope, receive, send))  # type: ignore[arg-type]
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
    assert "may have been applied" in answer["error"]
    assert answer.get("ok", False) is False


def test_an_answer_that_has_begun_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [message["type"] for message in cut_off(monkeypatch, "/v1/people", begun=True)] == ["http.response.start"]
