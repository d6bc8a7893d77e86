"""Tokens, sessions and waits over MCP: access, and what ends a wait. Contract sections 5 and 9."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from mcp import Client
from sqlalchemy import update

from tests.contract.manual_worker import make_run, participant, run_to_end
from tests.factories import make_workspace
from tests.http_client import ApiClient
from tests.mcp_client import run_with_client
from tests.parameters import both_eras, one_store
from tests.servers import serve_in_thread, wait_until
from understudy.api.app import create_app
from understudy.domain.lifecycle import Status
from understudy.mcp import app, waiter
from understudy.settings import Settings
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": CLIENT}
CALL = {"name": "person_get", "arguments": {"limit": 1}}
LIST_PEOPLE = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": CALL}


def send(caller: ApiClient, method: str, body: Any = None, **headers: str) -> httpx.Response:
    """A message by hand, in the era of sessions."""
    usual = {"Authorization": f"Bearer {caller.secret}", "Accept": "application/json, text/event-stream"}
    with httpx.Client(headers=usual | headers, trust_env=False, verify=False, timeout=30) as http:
        return http.request(method, f"{caller.api}/mcp", json=body)


def open_session(caller: ApiClient) -> str:
    opened = send(caller, "POST", INITIALIZE)
    assert opened.status_code == 200, opened.text
    return opened.headers["mcp-session-id"]


def error_code_of(response: httpx.Response) -> str:
    """The code in the JSON-RPC body of a request that no tool has seen."""
    body = response.json()
    assert (body["jsonrpc"], body["id"], set(body["error"])) == ("2.0", None, {"code", "message", "data"})
    return str(body["error"]["data"]["error_code"])


def events(response: httpx.Response) -> list[Any]:
    """The messages of a stream."""
    lines = response.text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


# -- odd requests ------------------------------------------------------------------------------------------


@one_store
def test_both_spellings_of_the_address_are_the_same(acme: ApiClient) -> None:
    session = open_session(acme)
    body = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    headers = dict(acme.http.headers) | {"Accept": "application/json, text/event-stream", "Mcp-Session-Id": session}
    answers = [httpx.post(acme.api + path, json=body, headers=headers) for path in ("/mcp", "/mcp/")]
    assert [answer.status_code for answer in answers] == [200, 200]


@one_store
@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "null", "https://evil.example", "x"])
def test_an_origin_that_is_odd_or_foreign_is_forbidden(acme: ApiClient, origin: str) -> None:
    answer = send(acme, "POST", INITIALIZE, Origin=origin)
    assert (answer.status_code, error_code_of(answer)) == (403, "validation_error")


@one_store
@pytest.mark.parametrize("position", ["1", "x", ""])
def test_a_stream_that_asks_to_resume_starts_now(acme: ApiClient, position: str) -> None:
    session = open_session(acme)
    headers = dict(acme.http.headers) | {"Accept": "text/event-stream", "Mcp-Session-Id": session}
    with httpx.stream("GET", f"{acme.api}/mcp", headers=headers | {"Last-Event-ID": position}) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")


# -- tokens ------------------------------------------------------------------------------------------------


@one_store
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_request_without_a_valid_token_is_a_401(acme: ApiClient, method: str) -> None:
    session = {"Mcp-Session-Id": open_session(acme)}
    tokens = ("", "Bearer", "Bearer nonsense", f"Basic {acme.secret}", acme.secret)
    answers = [send(acme, method, LIST_PEOPLE, Authorization=token, **session) for token in tokens]
    results = [(one.status_code, one.headers["www-authenticate"], error_code_of(one)) for one in answers]
    assert results == [(401, "Bearer", "auth_failed")] * len(tokens)
    assert send(acme, "POST", LIST_PEOPLE, **session).status_code == 200


def test_a_token_that_is_revoked_ends_the_use_of_its_session(store: Store, acme: ApiClient) -> None:
    session = open_session(acme)
    token = Tables.token
    revoked = update(token).where(token.c.workspace_id == acme.workspace_id).values(revoked_at=store_clock())
    store.write(lambda connection: connection.execute(revoked))
    assert send(acme, "POST", LIST_PEOPLE, **{"Mcp-Session-Id": session}).status_code == 401


def test_a_session_of_another_workspace_is_one_that_does_not_exist(
    store: Store, acme: ApiClient, rival: ApiClient
) -> None:
    session = open_session(acme)
    calls = [("POST", LIST_PEOPLE), ("POST", INITIALIZE), ("GET", None), ("DELETE", None)]

    def answers(session_id: str) -> list[tuple[int, bytes]]:
        sent = [send(rival, method, body, **{"Mcp-Session-Id": session_id}) for method, body in calls]
        return [(answer.status_code, answer.content) for answer in sent]

    assert answers(session) == answers(uuid4().hex)
    assert {status for status, _ in answers(session)} == {404}
    # Another token of the same workspace opens it.
    acme.secret = make_workspace(store, "acme").secret
    (told,) = events(send(acme, "POST", LIST_PEOPLE, **{"Mcp-Session-Id": session}))
    assert len(told["result"]["structuredContent"]["items"]) == 1
    assert send(acme, "DELETE", **{"Mcp-Session-Id": session}).status_code == 200
    assert send(acme, "POST", LIST_PEOPLE, **{"Mcp-Session-Id": session}).status_code == 404


@one_store
def test_a_workspace_cannot_take_all_sessions(
    acme: ApiClient, rival: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_SESSIONS_OF_ONE", 2)
    first, _ = open_session(acme), open_session(acme)
    assert send(acme, "POST", INITIALIZE).status_code == 503
    open_session(rival)
    send(acme, "DELETE", **{"Mcp-Session-Id": first})
    open_session(acme)


ORIGINS = {
    **dict.fromkeys(("http://localhost:6274", "http://127.0.0.1:1", "http://[::1]:80"), 200),
    **dict.fromkeys(("https://app.example", "https://b"), 200),
    **dict.fromkeys(("https://evil.example", "http://localhost.evil.example", "null", "https://app.example:1"), 403),
}


@one_store
def test_web_pages_of_other_origins_are_refused(acme: ApiClient, api_with: Callable[..., str]) -> None:
    acme.api = api_with(allowed_origins="https://app.example, https://b")
    answers = {origin: send(acme, "POST", INITIALIZE, Origin=origin) for origin in ORIGINS}
    assert {origin: answer.status_code for origin, answer in answers.items()} == ORIGINS
    assert error_code_of(answers["null"]) == "validation_error"
    # The Host may be any: behind a proxy, in a container.
    assert send(acme, "POST", INITIALIZE, Host="mcp.example").status_code == 200


# -- waits -------------------------------------------------------------------------------------------------


class WaitingServer:
    """A server of this test alone, whose waits can be counted, with two pending participants."""

    def __init__(self, app: FastAPI, caller: ApiClient, store: Store) -> None:
        self.caller = caller
        self._store = store
        self._room = app.state.service.waiting
        _, self.ids = make_run(store, caller, 2)

    @property
    def waits(self) -> int:
        """How many participants are awaited."""
        return self._room.awaited_count

    @property
    def arguments(self) -> dict[str, Any]:
        return {"participant_ids": [str(id_) for id_ in self.ids], "timeout": 600}

    async def wait_for(self, waits: int) -> None:
        await asyncio.to_thread(wait_until, lambda: self.waits == waits)

    def run_all(self) -> None:
        """Checks that the participants are still pending, and runs them to their end."""
        for id_ in self.ids:
            assert participant(self._store, id_)["status"] == Status.PENDING
            run_to_end(self._store, id_, 1)


@pytest.fixture
def server(store: Store, settings: Settings, acme: ApiClient) -> Iterator[WaitingServer]:
    app = create_app(settings)
    with serve_in_thread(app) as url:
        acme.api = url
        yield WaitingServer(app, acme, store)


@both_eras
def test_a_wait_reports_progress_and_ends_when_all_are_terminal(
    server: WaitingServer, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter, "PROGRESS_INTERVAL_S", 0.05)
    heard: list[tuple[float, float | None, str | None]] = []

    async def scene(client: Client) -> Any:
        told = [asyncio.Event(), asyncio.Event()]

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))
            if progress < 2:
                told[int(progress)].set()

        waiting = asyncio.create_task(client.call_tool("simulation_wait", server.arguments, progress_callback=hear))
        for done, id_ in enumerate(server.ids):
            await asyncio.wait_for(told[done].wait(), 30)
            await asyncio.to_thread(run_to_end, server._store, id_, 1)
        return (await waiting).structured_content

    assert run_with_client(server.caller, scene, era)["ok"] is True
    assert server.waits == 0
    numbers = [progress for progress, *_ in heard]
    assert numbers == sorted(set(numbers)), "the protocol wants each higher than the one before"
    assert {total for _, total, _ in heard} == {2}
    assert [one for one in heard if not (one[2] or "").startswith(f"{int(one[0])} of 2 finished")] == []


def test_progress_is_sent_at_least_every_5_seconds() -> None:
    assert waiter.PROGRESS_INTERVAL_S + waiter._LOOK_TIMEOUT_S < 5


@both_eras
def test_a_client_that_cancels_its_wait_does_not_affect_the_run(server: WaitingServer, era: str) -> None:
    async def scene(client: Client) -> Any:
        waiting = asyncio.create_task(client.call_tool("simulation_wait", server.arguments))
        await server.wait_for(2)
        waiting.cancel()
        await server.wait_for(0)
        # The session lives on.
        return await client.call_tool("person_get", {"limit": 1})

    assert not run_with_client(server.caller, scene, era).is_error
    server.run_all()


@both_eras
def test_a_client_that_disconnects_ends_its_wait_and_not_the_run(server: WaitingServer, era: str) -> None:
    async def scene() -> None:
        headers = {"Authorization": f"Bearer {server.caller.secret}", "Accept": "application/json, text/event-stream"}
        body = wait_message(server.arguments, era)
        if era == "legacy":
            headers["Mcp-Session-Id"] = await asyncio.to_thread(open_session, server.caller)
        else:
            headers |= {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "simulation_wait"}
        async with httpx.AsyncClient(headers=headers, trust_env=False, verify=False, timeout=60) as http:
            waiting = asyncio.create_task(http.post(f"{server.caller.api}/mcp", json=body))
            await server.wait_for(2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await server.wait_for(0)

    asyncio.run(scene())
    server.run_all()


def wait_message(arguments: dict[str, Any], era: str) -> dict[str, Any]:
    params: dict[str, Any] = {"name": "simulation_wait", "arguments": arguments}
    if era != "legacy":
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


def test_a_session_that_is_closed_ends_its_waits(server: WaitingServer) -> None:
    session = {"Mcp-Session-Id": open_session(server.caller)}

    async def scene() -> None:
        body = wait_message(server.arguments, "legacy")
        waiting = asyncio.create_task(asyncio.to_thread(partial(send, server.caller, "POST", body, **session)))
        await server.wait_for(2)
        await asyncio.to_thread(partial(send, server.caller, "DELETE", **session))
        await server.wait_for(0)
        await waiting

    asyncio.run(scene())
    server.run_all()


@one_store
def test_an_unused_session_is_closed(acme: ApiClient, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SESSION_IDLE_S", 0.05)
    with serve_in_thread(create_app(settings)) as url:
        acme.api = url
        session = {"Mcp-Session-Id": open_session(acme)}

        def is_closed() -> bool:
            # To look is to use it.
            time.sleep(0.2)
            return send(acme, "POST", LIST_PEOPLE, **session).status_code == 404

        wait_until(is_closed)
