"""While the store is unavailable every route says so, changes nothing, and works again when it is back."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import sqlalchemy
from fastapi import FastAPI
from sqlalchemy import event

from tests.contract.lost_commits import LostCommits
from tests.contract.manual_worker import counts, dump_tables, make_run, run_to_end
from tests.contract.openapi import check_answer, routes
from tests.e2e.store_link import link_to, locked
from tests.factories import make_ask
from tests.http_client import ApiClient
from tests.parameters import one_store
from tests.servers import serve_in_thread, wait_until
from understudy.admission import middleware
from understudy.api.app import create_app
from understudy.envelopes.simulations import Dispatch
from understudy.service import health
from understudy.settings import Settings
from understudy.store.engine import Store

#: How long SQLite waits for a lock here.
BUSY_MS = 50
#: Status, code and whether a retry may help.
UNAVAILABLE = (503, "service_unavailable", True)


def error_of(answer: httpx.Response) -> tuple[int, str, bool]:
    """Status and error of an answer that is no success."""
    body = answer.json()
    assert body.get("ok") is not True
    return answer.status_code, body["error_code"], body["retryable"]


class UnavailableStore(NamedTuple):
    """A server whose store does not answer until `restore` is called."""

    api: str
    restore: Callable[[], None]
    #: The store behind the outage.
    url: str


def with_short_busy_timeout(app: FastAPI) -> FastAPI:
    """The app, with a SQLite that waits for a lock no longer than BUSY_MS."""

    def prepare(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    event.listen(app.state.service.store.engine, "connect", prepare, insert=True)
    return app


@pytest.fixture
def unavailable(
    store_url: str, settings: Settings, world: dict[str, str], tmp_path: Path
) -> Iterator[UnavailableStore]:
    """A server on a locked copy of the SQLite store, or behind a link to PostgreSQL that is cut."""
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as outage:
        if store_url.startswith("sqlite"):
            copy = tmp_path / "copy.db"
            with contextlib.closing(sqlite3.connect(store_url.removeprefix("sqlite:///"))) as original:
                original.execute(f"VACUUM INTO '{copy}'")
            url = here = f"sqlite:///{copy}"
            outage.enter_context(locked(here))
        else:
            url = store_url
            link, here = stack.enter_context(link_to(url))
            link.cut()
            outage.callback(link.restore)
        app = create_app(settings.model_copy(update={"database_url": here}))
        if store_url.startswith("sqlite"):
            with_short_busy_timeout(app)
        yield UnavailableStore(stack.enter_context(serve_in_thread(app)), outage.close, url)


#: No name has to be looked up.
WEBHOOK = "https://93.184.215.14/"


@pytest.fixture
def world(store: Store, acme: ApiClient) -> dict[str, str]:
    """Ids of one object of each kind; the participant has ended, another one of the study is pending."""
    study, (ended, _) = make_run(store, acme, 2)
    run_to_end(store, ended, 2)
    person = acme.get("/v1/people").json()["items"][0]["id"]
    ask, _ = make_ask(store, acme.workspace_id)
    webhook = acme.post("/v1/webhooks", {"url": WEBHOOK}).json()["id"]
    ids = {"study_id": study, "participant_id": ended, "person_id": person, "ask_id": ask, "webhook_id": webhook}
    return {name: str(id_) for name, id_ in ids.items()}


def call_every_route(caller: ApiClient, api: str, world: dict[str, str]) -> dict[str, httpx.Response]:
    """The answers to a good request to every documented route that needs the store."""
    caller.http.event_hooks["response"] = [partial(check_answer, caller.api)]
    source = {"participant_id": world["participant_id"]}
    bodies: dict[str, Any] = {
        "/v1/studies": {"name": "S", "modality": "interactive", "assignment": {"task": "Look around"}},
        "/v1/studies/{study_id}/iterations": {"content": {"environment": "scripted"}},
        "/v1/studies/{study_id}/pause": None,
        "/v1/studies/{study_id}/resume": None,
        "/v1/studies/{study_id}/run": {"sample": 2},
        "/v1/people": {"generate": 2},
        "/v1/asks": {"question": "Which?", "variants": ["This.", "That."], "sample": 2},
        "/v1/asks/{ask_id}/rounds": None,
        "/v1/participants/{participant_id}/cancel": None,
        "/v1/webhooks": {"url": WEBHOOK},
        "/v1/webhooks/{webhook_id}/rotate": None,
        "/v1/webhooks/{webhook_id}/replay": {"since": "2026-12-01T09:00:00Z"},
        "/v1/events/tickets": {"study_id": world["study_id"]},
        "/v1/participants/{participant_id}/extend": None,
        "/v1/simulations/cancel": {"study_id": world["study_id"]},
        "/v1/simulations/extend": source,
        "/v1/simulations/wait": {"participant_ids": [world["participant_id"]]},
    }
    query = {"/v1/events": f"?follow=false&study_id={world['study_id']}"}
    names = {"slug": "concepts/overview"} | world
    return {
        f"{method} {path}": caller.http.request(
            method, api + path.format(**names) + query.get(path, ""), json=bodies[path] if method == "POST" else None
        )
        for method, path in sorted(
            routes(caller.api) - {("GET", "/healthz")}, key=lambda one: (one[0] == "DELETE", one)
        )
    }


def test_every_route_answers_503_changes_nothing_and_works_again_after_the_outage(
    store: Store, acme: ApiClient, world: dict[str, str], unavailable: UnavailableStore
) -> None:
    before = dump_tables(store)
    answers = call_every_route(acme, unavailable.api, world)
    assert {route: error_of(answer) for route, answer in answers.items()} == dict.fromkeys(answers, UNAVAILABLE)
    assert acme.get(f"{unavailable.api}/healthz").json() == {"status": "ok"}

    unavailable.restore()
    here = Store(unavailable.url)
    assert dump_tables(here) == before
    here.dispose()
    answers = call_every_route(acme, unavailable.api, world)
    # Studies with active participants and people who take part cannot be deleted.
    assert {route: one.text for route, one in answers.items() if one.status_code not in {200, 201, 202, 409}} == {}


@one_store
def test_while_the_store_hangs_requests_fail_in_time_and_readiness_reports_it(
    store: Store, acme: ApiClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.2)
    app = create_app(settings)
    release, read = threading.Event(), app.state.service.store.read

    def hang() -> Any:
        release.wait(60)
        return read()

    monkeypatch.setattr(app.state.service.store, "read", hang)
    with serve_in_thread(app) as here, ThreadPoolExecutor(60) as pool:
        try:
            answers = list(pool.map(lambda _: acme.get(f"{here}/v1/people"), range(60)))
            assert {error_of(answer) for answer in answers} == {UNAVAILABLE}
            assert acme.get(f"{here}/healthz").status_code == 200
            assert error_of(acme.get(f"{here}/readyz")) == UNAVAILABLE
        finally:
            release.set()
        wait_until(lambda: acme.get(f"{here}/readyz").status_code == 200)
        assert acme.get(f"{here}/v1/people").status_code == 200


@one_store
def test_while_another_process_writes_reads_go_on_and_writes_answer_503(
    store: Store, acme: ApiClient, world: dict[str, str], settings: Settings
) -> None:
    source, pending = {"participant_id": world["participant_id"]}, {"study_id": world["study_id"]}
    writes = [
        (f"/v1/studies/{world['study_id']}/run", {"sample": 2}),
        ("/v1/simulations/extend", source),
        ("/v1/simulations/cancel", pending),
    ]
    before = dump_tables(store)
    with serve_in_thread(with_short_busy_timeout(create_app(settings))) as here:
        writer = sqlite3.connect(str(store.url.database), isolation_level=None)
        with contextlib.closing(writer):
            writer.execute("BEGIN IMMEDIATE")
            assert [error_of(acme.post(f"{here}{path}", body)) for path, body in writes] == [UNAVAILABLE] * 3
            assert acme.get(f"{here}/v1/participants/{world['participant_id']}").status_code == 200
            assert acme.get(f"{here}/readyz").status_code == 200
        assert dump_tables(store) == before
        assert acme.post(f"{here}/v1/simulations/cancel", pending).json()["summary"]["cancelled_count"] == 1


LOSE_RACES = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$;
CREATE TRIGGER lose BEFORE INSERT OR UPDATE ON participant EXECUTE FUNCTION lose();
"""


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_write_that_loses_all_its_races_answers_503_without_sql(
    store: Store, acme: ApiClient, world: dict[str, str]
) -> None:
    writes = [
        (f"/v1/studies/{world['study_id']}/run", {"sample": 2}),
        ("/v1/simulations/extend", {"participant_id": world["participant_id"]}),
        ("/v1/simulations/cancel", {"study_id": world["study_id"]}),
    ]
    store.write(lambda connection: connection.exec_driver_sql(LOSE_RACES))
    answers = [acme.post(path, body) for path, body in writes]
    assert [error_of(answer) for answer in answers] == [UNAVAILABLE] * 3
    assert not [answer.text for answer in answers if "participant SET" in answer.text or "INSERT" in answer.text]
    store.write(lambda connection: connection.exec_driver_sql("DROP TRIGGER lose ON participant"))
    assert [acme.post(path, body).status_code for path, body in writes] == [202, 202, 200]


@pytest.mark.parametrize("key", [None, "k"])
def test_a_dispatch_that_was_committed_when_the_store_was_lost_is_answered_as_committed(
    store: Store,
    acme: ApiClient,
    world: dict[str, str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    key: str | None,
) -> None:
    app, begun = create_app(settings), counts(store)["participant"]
    lost = LostCommits(app.state.service.store, monkeypatch)
    lost.limit, lost.is_lost = 99, lambda done: isinstance(done, Dispatch)
    headers = {"Idempotency-Key": key} if key else {}
    dispatches = [
        (f"/v1/studies/{world['study_id']}/run", {"sample": 2}),
        ("/v1/simulations/extend", {"participant_id": world["participant_id"]}),
    ]
    with serve_in_thread(app) as here:
        answers = [acme.http.post(f"{here}{path}", json=body, headers=headers) for path, body in dispatches]
    assert [(answer.status_code, answer.json()["ok"]) for answer in answers] == [(202, True)] * 2
    assert (lost.count, counts(store)["participant"]) == (2, begun + 3)


@one_store
def test_a_dispatch_that_may_be_committed_is_reported_as_in_doubt(
    store: Store, acme: ApiClient, world: dict[str, str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(settings)
    lost = LostCommits(app.state.service.store, monkeypatch)
    lost.limit, lost.can_read = 99, False
    with serve_in_thread(app) as here:
        answer = acme.post(f"{here}/v1/studies/{world['study_id']}/run", {"sample": 2})
    assert error_of(answer) == UNAVAILABLE
    assert "may have been applied" in answer.json()["error"]


@one_store
def test_a_committed_dispatch_is_answered_although_reading_it_back_fails(
    acme: ApiClient, world: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise sqlalchemy.exc.DataError("SELECT …", {}, Exception("/srv/secret"))

    monkeypatch.setattr("understudy.store.participants.states", fail)
    run, extend = f"/v1/studies/{world['study_id']}/run", "/v1/simulations/extend"
    source = {"participant_id": world["participant_id"]}
    # A repeated request reads the dispatch of the first one.
    requests = [*((run, {"sample": 2}, "run"), (extend, source, "extend")) * 2]
    requests += [(extend, source | {"wait": True, "timeout": 0.1}, "wait")]
    answers = [acme.http.post(path, json=body, headers={"Idempotency-Key": key}) for path, body, key in requests]
    assert [answer.status_code for answer in answers] == [202] * 5
    bodies = [answer.json() for answer in answers]
    assert {one["status"] for body in bodies for one in body["participants"]} == {"pending"}
    assert all(body["next_action"]["arguments"]["participant_ids"] for body in bodies), bodies
