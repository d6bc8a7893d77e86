"""While the store is unavailable every route says so, changes nothing, and works again when it is back."""

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
import sqlalchemy
from fastapi import FastAPI
from sqlalchemy import Connection, event

from tests.contract.manual_worker import counts, dump_tables, run_to_end
from tests.contract.openapi import check_answer, routes
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import serve_in_thread, wait_until
from understudy.admission import middleware
from understudy.api.app import create_app
from understudy.domain.errors import ServiceUnavailable
from understudy.envelopes.simulations import Dispatch
from understudy.service import health
from understudy.settings import Settings
from understudy.store.engine import Store

#: How long SQLite waits for a lock here.
BUSY_MS = 50


class Away(NamedTuple):
    """A server whose store does not answer until it is `back`."""

    api: str
    back: Callable[[], None]
    #: The store itself, for us to look at; not while it is away.
    url: str


@contextlib.contextmanager
def locked(file: Path) -> Iterator[Callable[[], None]]:
    """Keep everybody else from a SQLite file; until what is given is called, or the block left."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield connection.close
    finally:
        connection.close()


@contextlib.contextmanager
def closed_port(to: sqlalchemy.URL) -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that nobody listens at, until what is given is called: from then on it leads to PostgreSQL."""
    doors: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    def lead() -> None:
        doors.append(socket.create_server(("127.0.0.1", port)))
        threading.Thread(target=accept, args=(doors[0],), daemon=True).start()

    def accept(door: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = door.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(f"{to.query['host']}/.s.PGSQL.{to.port or 5432}")
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(65536):
                target.sendall(data)

    try:
        yield port, lead
    finally:
        for door in doors:
            door.shutdown(socket.SHUT_RDWR)
            door.close()


def impatient(app: FastAPI) -> FastAPI:
    """The app, with a SQLite that waits for a lock no longer than BUSY_MS."""

    def prepare(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    event.listen(app.state.service.store.engine, "connect", prepare, insert=True)
    return app


@pytest.fixture
def away(store_url: str, settings: Settings, world: dict[str, str], tmp_path: Path) -> Iterator[Away]:
    """A server on a copy of the store that is locked, or at whose address nobody listens."""
    url = sqlalchemy.make_url(store_url)
    with contextlib.ExitStack() as stack:
        if url.get_backend_name() == "sqlite":
            file = tmp_path / "copy.db"
            with contextlib.closing(sqlite3.connect(str(url.database))) as original:
                original.execute(f"VACUUM INTO '{file}'")
            back = stack.enter_context(locked(file))
            here = looked_at = f"sqlite:///{file}"
        else:
            port, back = stack.enter_context(closed_port(url))
            address = url.set(host="127.0.0.1", port=port, query={})
            here, looked_at = address.render_as_string(hide_password=False), store_url
        app = create_app(settings.model_copy(update={"database_url": here}))
        if url.get_backend_name() == "sqlite":
            impatient(app)
        yield Away(stack.enter_context(serve_in_thread(app)), back, looked_at)


@pytest.fixture
def world(store: Store, acme: ApiClient) -> dict[str, str]:
    """Ids of one thing of each kind; the participant has ended, another one is pending."""
    study, (iteration,) = make_study(store, acme.workspace_id)
    ended, _ = make_participants(store, acme.workspace_id, study, iteration, 2)
    run_to_end(store, ended, 2)
    person = acme.get("/v1/people").json()["items"][0]["id"]
    ask, _ = make_ask(store, acme.workspace_id)
    return {
        "study_id": str(study),
        "participant_id": str(ended),
        "person_id": person,
        "ask_id": str(ask),
    }


def requests(api: str, world: dict[str, str]) -> list[tuple[str, str, Any]]:
    """A good request to every documented route that needs the store."""
    one = {"participant_id": world["participant_id"]}
    bodies: dict[str, Any] = {
        "/v1/studies": {"name": "S", "modality": "interactive", "assignment": {"task": "Look around"}},
        "/v1/studies/{study_id}/iterations": {"content": {"environment": "scripted"}},
        "/v1/studies/{study_id}/run": {"sample": 2},
        "/v1/people": {"generate": 2},
        "/v1/asks": {"question": "Which?", "variants": ["This.", "That."], "sample": 2},
        "/v1/asks/{ask_id}/rounds": None,
        "/v1/participants/{participant_id}/cancel": None,
        "/v1/participants/{participant_id}/extend": None,
        "/v1/simulations/cancel": {"study_id": world["study_id"]},
        "/v1/simulations/extend": one,
        "/v1/simulations/wait": {"participant_ids": [world["participant_id"]]},
    }
    queries = {"/v1/events": f"?follow=false&study_id={world['study_id']}"}
    names = {"slug": "concepts/overview"} | world
    return [
        (method, path.format(**names) + queries.get(path, ""), bodies[path] if method == "POST" else None)
        for method, path in sorted(routes(api) - {("GET", "/healthz")})
    ]


def ask_all(caller: ApiClient, api: str, world: dict[str, str]) -> dict[str, httpx.Response]:
    caller.http.event_hooks["response"] = [partial(check_answer, caller.api)]
    return {
        f"{method} {path}": caller.http.request(method, f"{api}{path}", json=body)
        for method, path, body in requests(caller.api, world)
    }


def test_every_route_says_so_changes_nothing_and_works_when_it_is_back(
    store: Store, acme: ApiClient, world: dict[str, str], away: Away
) -> None:
    before = dump_tables(store)
    for asked, answer in ask_all(acme, away.api, world).items():
        body = answer.json()
        told = (answer.status_code, body["error_code"], body["retryable"])
        assert told == (503, "service_unavailable", True), asked
        assert body.get("ok") is not True, asked
    assert acme.get(f"{away.api}/healthz").json() == {"status": "ok"}

    away.back()
    here = Store(away.url)
    assert dump_tables(here) == before
    here.dispose()
    for asked, answer in ask_all(acme, away.api, world).items():
        assert answer.status_code in {200, 201, 202}, (asked, answer.text)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_while_the_store_hangs_nobody_waits_long_and_health_is_told(
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
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.json()["error_code"] for answer in answers} == {"service_unavailable"}
            assert acme.get(f"{here}/healthz").status_code == 200
            ready = acme.get(f"{here}/readyz")
            assert (ready.status_code, ready.json()["error_code"]) == (503, "service_unavailable")
        finally:
            release.set()
        wait_until(lambda: acme.get(f"{here}/readyz").status_code == 200)
        assert acme.get(f"{here}/v1/people").status_code == 200


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_while_somebody_else_writes_for_long_reading_goes_on_and_writing_says_so(
    store: Store, acme: ApiClient, world: dict[str, str], settings: Settings
) -> None:
    pending = {"study_id": world["study_id"]}
    before = dump_tables(store)
    with serve_in_thread(impatient(create_app(settings))) as here:
        writer = sqlite3.connect(str(store.url.database), isolation_level=None)
        with contextlib.closing(writer):
            writer.execute("BEGIN IMMEDIATE")
            for path, body in (
                (f"/v1/studies/{world['study_id']}/run", {"sample": 2}),
                ("/v1/simulations/extend", {"participant_id": world["participant_id"]}),
                ("/v1/simulations/cancel", pending),
            ):
                answer = acme.post(f"{here}{path}", body)
                assert (answer.status_code, answer.json()["error_code"]) == (503, "service_unavailable")
            assert acme.get(f"{here}/v1/participants/{world['participant_id']}").status_code == 200
            assert acme.get(f"{here}/readyz").status_code == 200
        assert dump_tables(store) == before
        assert acme.post(f"{here}/v1/simulations/cancel", pending).json()["summary"]["cancelled_count"] == 1


@pytest.mark.parametrize("key", [None, "k"])
def test_a_dispatch_that_was_committed_when_the_store_was_lost_is_answered_as_such(
    store: Store, acme: ApiClient, world: dict[str, str], settings: Settings, key: str | None
) -> None:
    app = create_app(settings)
    write, begun = app.state.service.store.write, counts(store)["participant"]
    lost = 0

    def write_and_lose(work: Callable[[Connection], Any]) -> Any:
        nonlocal lost
        done = write(work)
        if isinstance(done, Dispatch):
            lost += 1
            raise ServiceUnavailable("The connection went away.")
        return done

    app.state.service.store.write = write_and_lose
    with serve_in_thread(app) as here:
        for path, body in (
            (f"/v1/studies/{world['study_id']}/run", {"sample": 2}),
            ("/v1/simulations/extend", {"participant_id": world["participant_id"]}),
        ):
            headers = {"Idempotency-Key": key} if key else {}
            answer = acme.http.post(f"{here}{path}", json=body, headers=headers)
            assert (answer.status_code, answer.json()["ok"]) == (202, True)
    assert (lost, counts(store)["participant"]) == (2, begun + 3)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_dispatch_that_may_be_committed_is_said_to_be_in_doubt(
    store: Store, acme: ApiClient, world: dict[str, str], settings: Settings
) -> None:
    app = create_app(settings)
    write, read = app.state.service.store.write, app.state.service.store.read
    lost = threading.Event()

    def write_and_lose(work: Callable[[Connection], Any]) -> Any:
        write(work)
        lost.set()
        raise ServiceUnavailable("The connection went away.")

    def read_or_not() -> Any:
        if lost.is_set():
            raise ServiceUnavailable("The store does not answer.")
        return read()

    app.state.service.store.write, app.state.service.store.read = write_and_lose, read_or_not
    with serve_in_thread(app) as here:
        answer = acme.post(f"{here}/v1/studies/{world['study_id']}/run", {"sample": 2})
    assert (answer.status_code, answer.json()["error_code"]) == (503, "service_unavailable")
    assert "may have been applied" in answer.json()["error"]


def test_a_dispatch_that_is_committed_is_answered_as_such_whatever_reading_it_back_does(
    store: Store, acme: ApiClient, world: dict[str, str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any) -> None:
        raise sqlalchemy.exc.DataError("SELECT …", {}, Exception("/srv/secret"))

    monkeypatch.setattr("understudy.store.participants.states", break_down)
    run, extension = {"sample": 2}, {"participant_id": world["participant_id"]}
    for path, body, key in (
        (f"/v1/studies/{world['study_id']}/run", run, "run"),
        # What is repeated is read, or would be.
        (f"/v1/studies/{world['study_id']}/run", run, "run"),
        ("/v1/simulations/extend", extension, "extend"),
        ("/v1/simulations/extend", extension, "extend"),
        ("/v1/simulations/extend", extension | {"wait": True, "timeout": 0.1}, "wait"),
    ):
        answer = acme.http.post(path, json=body, headers={"Idempotency-Key": key})
        assert answer.status_code == 202, answer.text
        assert {one["status"] for one in answer.json()["participants"]} == {"pending"}
        assert UUID(answer.json()["next_action"]["arguments"]["participant_ids"][0])
