"""Tokens, sessions and waits over MCP: who may use what, and what ends a wait. Contract sections 5 and 9."""

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from mcp import Client
from sqlalchemy import update

from tests.contract.manual_worker import dump_tables, participant, run_to_end
from tests.factories import make_ask, make_participants, make_study, make_workspace
from tests.http_client import ApiClient
from tests.mcp_client import PROTOCOL_MODES, answer, refusal, run_with_client
from tests.servers import serve_in_thread, wait_until
from understudy.api.app import create_app
from understudy.domain.lifecycle import Status
from understudy.mcp import app
from understudy.mcp import tool_call as call_module
from understudy.settings import Settings
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

one_store = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
both_eras = pytest.mark.parametrize("era", PROTOCOL_MODES)

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
LIST_PEOPLE = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "person_get", "arguments": {"limit": 1}},
}


def send(caller: ApiClient, method: str, body: Any = None, **headers: str) -> httpx.Response:
    """A message by hand, in the era of sessions."""
    usual = {"Authorization": f"Bearer {caller.secret}", "Accept": "application/json, text/event-stream"}
    with httpx.Client(headers=usual | headers, trust_env=False, verify=False, timeout=30) as http:
        return http.request(method, f"{caller.api}/mcp", json=body)


def open_session(caller: ApiClient) -> str:
    opened = send(caller, "POST", INITIALIZE)
    assert opened.status_code == 200, opened.text
    return opened.headers["mcp-session-id"]


def events(response: httpx.Response) -> list[Any]:
    """What a stream told."""
    lines = response.text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


# -- tokens ------------------------------------------------------------------------------------------------


@one_store
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_without_a_valid_token_nothing_is_answered(acme: ApiClient, method: str) -> None:
    session = open_session(acme)
    for header in ("", "Bearer", "Bearer nonsense", f"Basic {acme.secret}", acme.secret):
        refused = send(acme, method, LIST_PEOPLE, **{"Authorization": header, "Mcp-Session-Id": session})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error_code"] == "auth_failed"
    alive = send(acme, "POST", LIST_PEOPLE, **{"Mcp-Session-Id": session})
    assert alive.status_code == 200


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
    for method, body in (("POST", LIST_PEOPLE), ("POST", INITIALIZE), ("GET", None), ("DELETE", None)):
        theirs = send(rival, method, body, **{"Mcp-Session-Id": session})
        unknown = send(rival, method, body, **{"Mcp-Session-Id": uuid4().hex})
        assert theirs.status_code == unknown.status_code == 404, method
        assert theirs.content == unknown.content
    # Their own other token opens it.
    acme.secret = make_workspace(store, "acme").secret
    (told,) = events(send(acme, "POST", LIST_PEOPLE, **{"Mcp-Session-Id": session}))
    assert len(told["result"]["structuredContent"]["items"]) == 1
    assert send(acme, "DELETE", **{"Mcp-Session-Id": session}).status_code == 200
    assert send(acme, "POST", LIST_PEOPLE, **{"Mcp-Session-Id": session}).status_code == 404


@both_eras
def test_nothing_of_another_workspace_is_found_or_changed(
    store: Store, acme: ApiClient, rival: ApiClient, era: str
) -> None:
    study, (iteration,) = make_study(store, rival.workspace_id)
    (id_,) = make_participants(store, rival.workspace_id, study, iteration)
    person = participant(store, id_)["person_id"]
    ask, _ = make_ask(store, rival.workspace_id)
    before = dump_tables(store)
    for tool, arguments in (
        ("study_get", {"study_id": str(study)}),
        ("study_add_iteration", {"study_id": str(study), "content": {"environment": "scripted"}}),
        ("person_get", {"person_id": str(person)}),
        ("participant_get", {"participant_id": str(id_), "view": "transcript"}),
        ("participant_get", {"iteration_id": str(iteration)}),
        ("simulation_cancel", {"participant_id": str(id_)}),
        ("simulation_cancel", {"study_id": str(study)}),
        ("simulation_cancel", {"ask_id": str(ask)}),
        ("ask_get", {"ask_id": str(ask)}),
    ):
        assert refusal(acme, tool, era, **arguments).startswith("[not_found] "), tool
    for tool, arguments in (
        ("study_run", {"study_id": str(study), "sample": 1}),
        ("simulation_extend", {"participant_id": str(id_)}),
        ("ask_round", {"ask_id": str(ask)}),
        ("simulation_wait", {"participant_ids": [str(id_)]}),
    ):
        assert answer(acme, tool, era, **arguments)["error_code"] == "not_found", tool
    for tool in ("study_get", "ask_get", "participant_get"):
        assert answer(acme, tool, era)["items"] == []
    assert dump_tables(store) == before


@one_store
def test_one_workspace_cannot_take_all_sessions(
    acme: ApiClient, rival: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_SESSIONS_OF_ONE", 2)
    first, _ = open_session(acme), open_session(acme)
    assert send(acme, "POST", INITIALIZE).status_code == 503
    open_session(rival)
    send(acme, "DELETE", **{"Mcp-Session-Id": first})
    open_session(acme)


@one_store
def test_pages_of_the_web_may_not_talk_to_it_unless_they_are_allowed(
    store: Store, acme: ApiClient, settings: Settings
) -> None:
    allowed = "https://app.example"
    with serve_in_thread(create_app(settings.model_copy(update={"allowed_origins": f"{allowed}, https://b"}))) as url:
        acme.api = url
        for origin in (
            "http://localhost:6274",
            "http://127.0.0.1:1",
            "http://[::1]:80",
            allowed,
            "https://b",
        ):
            assert send(acme, "POST", INITIALIZE, Origin=origin).status_code == 200, origin
        for origin in (
            "https://evil.example",
            "http://localhost.evil.example",
            "null",
            "https://app.example:1",
        ):
            refused = send(acme, "POST", INITIALIZE, Origin=origin)
            assert (refused.status_code, refused.json()["error_code"]) == (403, "validation_error"), origin
        # Whoever it was reached as: behind a proxy, in a container.
        assert send(acme, "POST", INITIALIZE, Host="mcp.example").status_code == 200


# -- waits -------------------------------------------------------------------------------------------------


class Here:
    """A server of this test's own, whose waits can be counted, and somebody to run there."""

    def __init__(self, app: FastAPI, caller: ApiClient, store: Store) -> None:
        self.caller = caller
        self._store = store
        self._room = app.state.service.waiting
        study, (iteration,) = make_study(store, caller.workspace_id)
        self.ids = make_participants(store, caller.workspace_id, study, iteration, 2)

    @property
    def waits(self) -> int:
        """Participants that somebody waits for."""
        return self._room.awaited_count

    @property
    def arguments(self) -> dict[str, Any]:
        return {"participant_ids": [str(id_) for id_ in self.ids], "timeout": 600}

    async def until(self, waits: int) -> None:
        await asyncio.to_thread(wait_until, lambda: self.waits == waits)

    def ends(self) -> None:
        """They run to their end."""
        for id_ in self.ids:
            assert participant(self._store, id_)["status"] == Status.PENDING
            run_to_end(self._store, id_, 1)


@pytest.fixture
def here(store: Store, settings: Settings, acme: ApiClient) -> Iterator[Here]:
    app = create_app(settings)
    with serve_in_thread(app) as url:
        acme.api = url
        yield Here(app, acme, store)


@both_eras
def test_a_wait_tells_how_far_it_is_and_ends_when_all_are_done(
    here: Here, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_module, "PROGRESS_INTERVAL_S", 0.05)
    heard: list[tuple[float, float | None, str | None]] = []

    async def scene(client: Client) -> Any:
        told = [asyncio.Event(), asyncio.Event()]

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))
            if progress < 2:
                told[int(progress)].set()

        waiting = asyncio.create_task(client.call_tool("simulation_wait", here.arguments, progress_callback=hear))
        for done, id_ in enumerate(here.ids):
            await asyncio.wait_for(told[done].wait(), 30)
            await asyncio.to_thread(run_to_end, here._store, id_, 1)
        return (await waiting).structured_content

    assert run_with_client(here.caller, scene, era)["ok"] is True
    assert here.waits == 0
    numbers = [progress for progress, *_ in heard]
    assert numbers == sorted(set(numbers)), "the protocol wants each higher than the one before"
    assert {total for _, total, _ in heard} == {2}
    for progress, _, message in heard:
        assert (message or "").startswith(f"{int(progress)} of 2 finished"), heard


def test_progress_comes_often_enough() -> None:
    assert call_module.PROGRESS_INTERVAL_S + call_module._LOOK_TIMEOUT_S < 5


@both_eras
def test_a_client_that_cancels_ends_its_wait_and_never_the_run(here: Here, era: str) -> None:
    async def scene(client: Client) -> Any:
        waiting = asyncio.create_task(client.call_tool("simulation_wait", here.arguments))
        await here.until(2)
        waiting.cancel()
        await here.until(0)
        # The session lives on.
        return await client.call_tool("person_get", {"limit": 1})

    assert not run_with_client(here.caller, scene, era).is_error
    here.ends()


@both_eras
def test_a_client_that_goes_away_ends_its_wait_and_never_the_run(here: Here, era: str) -> None:
    async def scene() -> None:
        headers = {
            "Authorization": f"Bearer {here.caller.secret}",
            "Accept": "application/json, text/event-stream",
        }
        body = wait_message(here.arguments, era)
        if era == "legacy":
            headers["Mcp-Session-Id"] = await asyncio.to_thread(open_session, here.caller)
        else:
            headers |= {
                "MCP-Protocol-Version": "2026-07-28",
                "Mcp-Method": "tools/call",
                "Mcp-Name": "simulation_wait",
            }
        async with httpx.AsyncClient(headers=headers, trust_env=False, verify=False, timeout=60) as http:
            waiting = asyncio.create_task(http.post(f"{here.caller.api}/mcp", json=body))
            await here.until(2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await here.until(0)

    asyncio.run(scene())
    here.ends()


def wait_message(arguments: dict[str, Any], era: str) -> dict[str, Any]:
    params: dict[str, Any] = {"name": "simulation_wait", "arguments": arguments}
    if era != "legacy":
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


def test_a_session_that_is_closed_ends_its_waits(here: Here) -> None:
    session = {"Mcp-Session-Id": open_session(here.caller)}

    async def scene() -> None:
        body = wait_message(here.arguments, "legacy")
        waiting = asyncio.create_task(asyncio.to_thread(partial(send, here.caller, "POST", body, **session)))
        await here.until(2)
        await asyncio.to_thread(partial(send, here.caller, "DELETE", **session))
        await here.until(0)
        await waiting

    asyncio.run(scene())
    here.ends()


@one_store
def test_a_session_that_nobody_uses_is_closed(
    store: Store, acme: ApiClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "SESSION_IDLE_S", 0.05)
    with serve_in_thread(create_app(settings)) as url:
        acme.api = url
        session = {"Mcp-Session-Id": open_session(acme)}

        def is_closed() -> bool:
            # To look is to use it.
            time.sleep(0.2)
            return send(acme, "POST", LIST_PEOPLE, **session).status_code == 404

        wait_until(is_closed)
