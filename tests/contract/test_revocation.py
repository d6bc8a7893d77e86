"""A wait or a stream that runs ends soon after its token was revoked or lost its role, in each API process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from tests.contract.manual_worker import make_run, participant
from tests.contract.test_mcp_sessions import events, open_session, send
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import serve_in_thread, wait_until
from understudy.api.app import create_app
from understudy.service import credentials
from understudy.service.credentials import CredentialWatch
from understudy.settings import Settings
from understudy.store import workspaces
from understudy.store.engine import Store
from understudy.store.schema import Tables

CALLERS = ["rest", "run that waits", "mcp"]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "CHECK_INTERVAL_S", 0.05)


@pytest.fixture
def run(store: Store, acme: ApiClient) -> tuple[UUID, UUID]:
    study, (one,) = make_run(store, acme)
    return study, one


def revoke(store: Store, caller: ApiClient) -> None:
    with store.read() as connection:
        ids = [row.id for row in workspaces.list_tokens(connection) if caller.secret.startswith(row.hint)]
    for id_ in ids:
        store.write(partial(workspaces.revoke_token, token_id=id_))


def take_role(store: Store, caller: ApiClient) -> None:
    viewer = update(Tables.token).where(Tables.token.c.workspace_id == caller.workspace_id).values(role="viewer")
    store.write(lambda connection: connection.execute(viewer))


def is_waiting(api: Any) -> bool:
    return bool(api.state.service.waiting.waiters)


def is_watched(api: Any) -> bool:
    return bool(api.state.service.credentials._watched)


def wait_of(how: str, caller: ApiClient, api: str, run: tuple[UUID, UUID], store: Store) -> tuple[int, str]:
    """Waits for a participant that does not end; returns the status and the error code of the answer."""
    arguments = {"participant_ids": [str(run[1])], "timeout": 60}
    if how == "mcp":
        # Not with the SDK's client: it makes another call after this one.
        params = {"name": "simulation_wait", "arguments": arguments}
        asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
        (told,) = events(send(caller, "POST", asked, **{"Mcp-Session-Id": open_session(caller)}))
        return 0, told["result"]["structuredContent"]["error_code"]
    path, body = f"{api}/v1/simulations/wait", arguments
    if how == "run that waits":
        study, _ = make_study(store, caller.workspace_id)
        path, body = f"{api}/v1/studies/{study}/run", {"sample": 1, "wait": True, "timeout": 60}
    answer = caller.http.post(path, json=body, timeout=90)
    return answer.status_code, answer.json()["error_code"]


@pytest.fixture
def served(settings: Settings) -> Iterator[tuple[Any, str]]:
    app = create_app(settings)
    with serve_in_thread(app) as api:
        yield app, api


@pytest.mark.parametrize(("how", "end"), [*((how, revoke) for how in CALLERS), ("run that waits", take_role)])
def test_wait_whose_token_ends_is_refused_and_its_run_goes_on(
    store: Store,
    acme: ApiClient,
    run: tuple[UUID, UUID],
    served: tuple[Any, str],
    end: Callable[[Store, ApiClient], None],
    how: str,
) -> None:
    app, api = served
    acme.api = api
    answers: list[tuple[int, str]] = []
    waiting = threading.Thread(target=lambda: answers.append(wait_of(how, acme, api, run, store)))
    waiting.start()
    wait_until(lambda: is_waiting(app))
    end(store, acme)
    waiting.join(30)
    assert answers == [(0 if how == "mcp" else 401, "auth_failed")]
    assert participant(store, run[1])["status"] == "pending"
    wait_until(lambda: not is_waiting(app))


@pytest.mark.parametrize("kind", ["events", "mcp"])
def test_stream_whose_token_is_revoked_ends(
    store: Store, acme: ApiClient, run: tuple[UUID, UUID], served: tuple[Any, str], kind: str
) -> None:
    app, api = served
    path = f"/v1/events?study_id={run[0]}" if kind == "events" else "/mcp"
    headers = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {acme.secret}"}
    if kind == "mcp":
        opening = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening}
        opened = httpx.post(f"{api}/mcp", json=asked, headers=headers, trust_env=False)
        headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
    with httpx.stream("GET", f"{api}{path}", headers=headers, trust_env=False, timeout=30) as stream:
        assert stream.status_code == 200
        wait_until(lambda: is_watched(app))
        revoke(store, acme)
        # Ends without an error, long before the next heartbeat.
        with closing(stream.iter_raw()) as chunks:
            list(chunks)
    assert not is_watched(app)


def test_many_waits_of_many_tokens_share_one_check(
    store: Store,
    acme: ApiClient,
    rival: ApiClient,
    run: tuple[UUID, UUID],
    served: tuple[Any, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, api = served
    checks: list[int] = []
    read = CredentialWatch._read

    def counted(self: CredentialWatch, token_ids: Any) -> Any:
        checks.append(len(token_ids))
        return read(self, token_ids)

    monkeypatch.setattr(CredentialWatch, "_read", counted)
    monkeypatch.setattr(credentials, "CHECK_INTERVAL_S", 0.3)
    ended: list[int] = []

    def wait(caller: ApiClient, id_: UUID) -> None:
        body = {"participant_ids": [str(id_)], "timeout": 60}
        ended.append(
            httpx.post(
                f"{api}/v1/simulations/wait", json=body, headers=dict(caller.http.headers), trust_env=False, timeout=90
            ).status_code
        )

    _, (other,) = make_run(store, rival)
    threads = [threading.Thread(target=wait, args=(acme, run[1])) for _ in range(20)]
    threads += [threading.Thread(target=wait, args=(rival, other)) for _ in range(2)]
    for thread in threads:
        thread.start()
    watched = app.state.service.credentials._watched
    wait_until(lambda: sorted(map(len, watched.values())) == [2, 20])
    checks.clear()
    wait_until(lambda: len(checks) >= 2)
    # One read with both tokens, not one for each wait.
    assert {*checks[1:]} <= {2}
    revoke(store, acme)
    wait_until(lambda: len(ended) == 20)
    assert ended == [401] * 20
    revoke(store, rival)
    for thread in threads:
        thread.join(30)


def test_wait_goes_on_while_the_store_cannot_tell(
    store: Store, acme: ApiClient, run: tuple[UUID, UUID], served: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, api = served
    failed: list[int] = []

    def fail(*_: Any) -> None:
        failed.append(1)
        raise RuntimeError("No answer.")

    answers: list[tuple[int, str]] = []
    with monkeypatch.context() as patch:
        patch.setattr(CredentialWatch, "_read", fail)
        waiting = threading.Thread(target=lambda: answers.append(wait_of("rest", acme, api, run, store)))
        waiting.start()
        wait_until(lambda: len(failed) > 3)
        assert answers == []
    revoke(store, acme)
    waiting.join(30)
    assert answers == [(401, "auth_failed")]
