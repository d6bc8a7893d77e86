"""The admission middleware: answers of requests that a shutdown cancels."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from starlette.types import Message, Receive, Scope, Send

from understudy.admission.middleware import AdmissionMiddleware
from understudy.domain.roles import Role
from understudy.service.call_limits import CallLimiter, Limits
from understudy.store.workspaces import Access

pytestmark = pytest.mark.anyio


async def cancelled(monkeypatch: pytest.MonkeyPatch, path: str, *, begun: bool) -> list[Message]:
    """The messages of a request that is cancelled before or during the answer of its app."""
    sent: list[Message] = []
    app_hangs = asyncio.Event()

    async def access(*_: Any) -> tuple[Access, Limits]:
        return Access(uuid4(), uuid4(), Role.ADMIN, None), Limits()

    async def app(_: Scope, __: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        app_hangs.set()
        await asyncio.sleep(60)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    monkeypatch.setattr(AdmissionMiddleware, "_access", access)
    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    service = SimpleNamespace(limits=CallLimiter(SimpleNamespace()))  # type: ignore[arg-type]
    request = asyncio.create_task(AdmissionMiddleware(app, service)(scope, receive, send))  # type: ignore[arg-type]
    await app_hangs.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    return sent


@pytest.mark.parametrize("path", ["/v1/simulations/cancel", "/v1/simulations/extend"])
async def test_a_cancelled_request_is_answered_in_words(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    start, body = await cancelled(monkeypatch, path, begun=False)
    answer = json.loads(body["body"])
    assert (start["status"], answer["error_code"]) == (503, "service_unavailable")
    assert "may have been applied" in answer["error"]
    assert answer.get("ok", False) is False


async def test_an_answer_that_has_begun_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = await cancelled(monkeypatch, "/v1/people", begun=True)
    assert [message["type"] for message in sent] == ["http.response.start"]
