"""Tickets for event streams, and CORS, for browsers. Contract section 6."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pydantic
import pytest
from sqlalchemy import select

from tests.contract.manual_worker import make_run, run_to_end
from tests.http_client import ApiClient
from tests.servers import serve_in_thread
from understudy.api.app import create_app
from understudy.domain.tickets import Claims
from understudy.service import credentials
from understudy.settings import Settings
from understudy.store import workspaces
from understudy.store.engine import Store
from understudy.store.schema import Tables

ORIGIN = "https://app.example"


@pytest.fixture
def run(store: Store, acme: ApiClient) -> tuple[UUID, UUID]:
    """A study and its participant, which has ended."""
    study, (id_,) = make_run(store, acme)
    run_to_end(store, id_, 1)
    return study, id_


def ticket_for(caller: ApiClient, **scope: Any) -> str:
    answer = caller.post("/v1/events/tickets", {name: str(value) for name, value in scope.items()})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["ticket"])


def follow(caller: ApiClient, ticket: str, path: str = "/v1/events", **params: Any) -> httpx.Response:
    """Sends a request without a token."""
    asked = {"ticket": ticket, "follow": "false", **{name: str(value) for name, value in params.items()}}
    return httpx.get(caller.api + path, params=asked, trust_env=False)


def test_a_ticket_opens_the_events_of_its_scope_again_and_again(acme: ApiClient, run: tuple[UUID, UUID]) -> None:
    study, id_ = run
    expected = acme.get("/v1/events", study_id=study, follow="false").text
    ticket = ticket_for(acme, study_id=study)
    assert [follow(acme, ticket).text for _ in range(3)] == [expected] * 3
    assert follow(acme, ticket, study_id=study).text == expected
    alias = acme.get(f"/v1/studies/{study}").json()["alias"]
    assert follow(acme, ticket, study_id=alias).text == expected
    assert follow(acme, ticket_for(acme, participant_id=id_)).status_code == 200
    resumed = httpx.get(
        f"{acme.api}/v1/events",
        params={"ticket": ticket, "follow": "false"},
        headers={"Last-Event-ID": "2"},
        trust_env=False,
    )
    assert "id: 3" in resumed.text
    assert "id: 2" not in resumed.text


def test_a_ticket_opens_nothing_else(store: Store, acme: ApiClient, rival: ApiClient, run: tuple[UUID, UUID]) -> None:
    study, id_ = run
    other, _ = make_run(store, acme)
    ticket = ticket_for(acme, study_id=study)
    for scope in ({"study_id": other}, {"participant_id": id_}):
        assert follow(acme, ticket, **scope).status_code == 401
    assert follow(acme, ticket, study_id=make_run(store, rival)[0]).status_code == 404
    for path in ("/v1/studies", f"/v1/studies/{study}", "/v1/events/tickets", "/mcp", "/v1/events/"):
        assert follow(acme, ticket, path).status_code == 401
    assert httpx.post(f"{acme.api}/v1/events?ticket={ticket}", trust_env=False).status_code == 401
    bearer = {"Authorization": f"Bearer {ticket}"}
    assert httpx.get(f"{acme.api}/v1/studies", headers=bearer, trust_env=False).status_code == 401
    created = httpx.post(f"{acme.api}/v1/events/tickets", json={"study_id": str(study)}, trust_env=False)
    assert created.status_code == 401
    # Nor does a token serve as a ticket.
    assert follow(acme, acme.secret).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        lambda ticket: "",
        lambda ticket: ticket[:-1],
        lambda ticket: ticket + "A",
        lambda ticket: ticket.replace(".s.", ".t."),
        lambda ticket: ticket[:-2] + ("AA" if ticket[-2:] != "AA" else "BB"),
        lambda ticket: _with_expiry(ticket, 99_999_999_999),
        lambda ticket: "ust_" + "0" * 32 + ticket[36:],
        lambda ticket: "x" * 400,
        lambda ticket: ticket.upper(),
    ],
)
def test_a_changed_ticket_is_refused_and_not_repeated(
    acme: ApiClient, run: tuple[UUID, UUID], change: Callable[[str], str]
) -> None:
    changed = change(ticket_for(acme, study_id=run[0]))
    answer = follow(acme, changed)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "auth_failed")
    assert not changed or changed not in answer.text


def _with_expiry(ticket: str, expires: int) -> str:
    parts = ticket.split(".")
    return ".".join([*parts[:3], str(expires), parts[4]])


def test_a_ticket_ends_after_ten_minutes_by_the_clock_of_the_store(
    store: Store, acme: ApiClient, run: tuple[UUID, UUID]
) -> None:
    study, _ = run
    claims, _ = Claims.parse(ticket_for(acme, study_id=study))
    assert timedelta(minutes=9) < claims.expires_at - datetime.now(UTC) <= timedelta(minutes=10)
    with store.read() as connection:
        (token_hash,) = connection.execute(
            select(Tables.token.c.hash).where(Tables.token.c.id == claims.token_id)
        ).one()
    assert follow(acme, claims.sign(token_hash)).status_code == 200
    over = claims._replace(expires=int(datetime.now(UTC).timestamp()) - 1)
    assert follow(acme, over.sign(token_hash)).status_code == 401


def test_a_ticket_ends_with_its_token_and_so_does_its_open_stream(
    store: Store, acme: ApiClient, run: tuple[UUID, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "CHECK_INTERVAL_S", 0.05)
    ticket = ticket_for(acme, study_id=run[0])
    asked = {"ticket": ticket}
    with httpx.stream("GET", f"{acme.api}/v1/events", params=asked, trust_env=False, timeout=30) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry")
        with store.read() as connection:
            tokens = workspaces.list_tokens(connection)
        for token in tokens:
            store.write(lambda connection, id_=token.id: workspaces.revoke_token(connection, id_))
        # The stream ends; without the check it would go on with heartbeats.
        assert len(list(itertools.islice(lines, 1_000))) < 1_000
    assert follow(acme, ticket).status_code == 401


def test_a_ticket_is_in_no_log_line(acme: ApiClient, run: tuple[UUID, UUID], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    ticket = ticket_for(acme, study_id=run[0])
    follow(acme, ticket)
    follow(acme, ticket, unknown="1")
    follow(acme, ticket, last_event_id="1000000")
    follow(acme, ticket, "/v1/studies")
    # The client of this test logs its own requests.
    lines = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert [line for line in lines if ticket in line] == []
    metrics = httpx.get(f"{acme.api}/metrics", trust_env=False).text
    assert ticket not in metrics
    assert "ticket=" not in metrics


@pytest.mark.parametrize(
    "body", [{}, {"study_id": "s-b2c", "ask_id": "a-b2c"}, {"iteration_id": "i-b2c"}, {"study_id": 7}]
)
def test_a_ticket_needs_exactly_one_scope(acme: ApiClient, body: dict[str, Any]) -> None:
    assert acme.post("/v1/events/tickets", body).status_code == 422


# -- CORS --------------------------------------------------------------------------------------------------


@pytest.fixture
def cors(acme: ApiClient, api_with: Callable[..., str]) -> Iterator[httpx.Client]:
    """A page of a listed origin."""
    address = api_with(cors_origins=f"{ORIGIN}, http://localhost:3000")
    with httpx.Client(base_url=address, headers={"Origin": ORIGIN}, trust_env=False) as page:
        yield page


def preflight(client: httpx.Client, path: str, method: str, headers: str = "", **more: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers, **more}
    return client.options(path, headers=asked)


@pytest.mark.parametrize("path", ["/v1/studies", "/v1/events", "/v1/webhooks/wh-abc", "/mcp", "/v1/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_preflight_of_a_listed_origin_is_allowed(cors: httpx.Client, path: str, method: str) -> None:
    sent = "authorization,content-type,idempotency-key,last-event-id,mcp-protocol-version,mcp-session-id,x-request-id"
    answer = preflight(cors, path, method, sent)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert method in answer.headers["access-control-allow-methods"]
    assert set(sent.split(",")) <= set(answer.headers["access-control-allow-headers"].lower().split(", "))
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://app.example", "https://app.example:8443", "https://app.example.evil", "null"],
)
def test_another_origin_may_do_nothing(cors: httpx.Client, acme: ApiClient, origin: str) -> None:
    refused = preflight(cors, "/v1/studies", "GET", "authorization", Origin=origin)
    assert refused.status_code == 400
    answer = cors.get("/v1/studies", headers={"Origin": origin, "Authorization": f"Bearer {acme.secret}"})
    assert "access-control-allow-origin" not in {**refused.headers, **answer.headers}


def test_answers_and_errors_can_be_read_by_a_page(cors: httpx.Client, acme: ApiClient) -> None:
    token = {"Authorization": f"Bearer {acme.secret}"}
    answers = {
        200: cors.get("/v1/studies", headers=token),
        201: cors.post("/v1/people", headers=token, json={"generate": 1}),
        400: cors.post("/v1/people", headers=token, content=b"{"),
        401: cors.get("/v1/studies"),
        404: cors.get("/v1/nothing", headers=token),
        405: cors.delete("/v1/studies", headers=token),
        422: cors.get("/v1/studies", headers=token, params={"limit": 0}),
    }
    for status, answer in answers.items():
        assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (status, ORIGIN)
        assert "Origin" in answer.headers["vary"]
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"location", "retry-after", "x-request-id", "mcp-session-id"} <= set(exposed)


def test_a_page_can_read_an_unexpected_error(settings: Settings, store: Store, acme: ApiClient) -> None:
    app = create_app(settings.model_copy(update={"cors_origins": ORIGIN}))

    @app.get("/broken")
    async def broken() -> None:
        raise LookupError("a defect")

    with serve_in_thread(app) as address:
        answer = httpx.get(f"{address}/broken", headers={"Origin": ORIGIN}, trust_env=False)
    assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (500, ORIGIN)
    assert answer.json()["error_code"] == "server_error"


def test_a_page_of_a_listed_origin_can_call_mcp(cors: httpx.Client, acme: ApiClient) -> None:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "page", "version": "1"},
        },
    }
    headers = {"Authorization": f"Bearer {acme.secret}", "Accept": "application/json, text/event-stream"}
    answer = cors.post("/mcp", headers=headers, json=message)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    evil = cors.post("/mcp", headers={**headers, "Origin": "https://evil.example"}, json=message)
    assert evil.status_code == 403


def test_without_the_setting_there_is_no_cors(acme: ApiClient) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    answers = [
        acme.http.get("/v1/studies", headers={"Origin": ORIGIN}),
        acme.http.options("/v1/studies", headers=asked),
    ]
    assert [answer.status_code for answer in answers] == [200, 405]
    assert [name for answer in answers for name in answer.headers if name.startswith("access-control")] == []


@pytest.mark.parametrize(
    "origins",
    ["*", "https://*.example", "app.example", "https://app.example/", "https://App.example", "null", "https://a b"],
)
def test_only_exact_origins_are_accepted(origins: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="exact origin"):
        Settings(cors_origins=origins)
