"""Deletion of studies, asks and people over every interface that has it. Contract section 6."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from tests.contract.manual_worker import claim, counts, make_run
from tests.contract.parity_table import ADA, LAMPS, VARIANTS, WEB
from tests.factories import at_once, make_ask, make_participants, make_study
from tests.http_client import ApiClient
from understudy.client import Understudy
from understudy.domain.errors import NotFound
from understudy.sequencer import assign_positions
from understudy.store import dispatch, events, lifecycle
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant


def cancel_all(store: Store, caller: ApiClient) -> None:
    with store.read() as connection:
        ids = list(connection.scalars(select(_p.c.id).where(_p.c.workspace_id == caller.workspace_id)))
    store.write(lambda connection: lifecycle.cancel(connection, caller.workspace_id, ids))


def rows_of(store: Store) -> dict[str, int]:
    """The rows of all tables of studies, asks and participants that are not empty."""
    names = [
        "study",
        "iteration",
        "ask",
        "round",
        "participant",
        "interaction",
        "event",
        "outbox",
        "checkpoint",
        "usage",
    ]
    with store.read() as connection:
        found = {name: connection.scalar(select(func.count()).select_from(getattr(Tables, name))) for name in names}
    return {name: count for name, count in found.items() if count}


def test_delete_of_a_study_removes_everything_in_it(store: Store, acme: ApiClient) -> None:
    study, (id_,) = make_run(store, acme)
    cancel_all(store, acme)
    child = acme.post(f"/v1/participants/{id_}/extend", {}).json()
    assert child["ok"]
    cancel_all(store, acme)
    answer = acme.http.delete(f"/v1/studies/{study}")
    assert (answer.status_code, answer.json()["id"], answer.json()["participant_count"]) == (200, str(study), 2)
    assert rows_of(store) == {}
    for path in (f"/v1/studies/{study}", f"/v1/participants/{id_}"):
        assert acme.get(path).status_code == 404
    assert acme.http.delete(f"/v1/studies/{study}").status_code == 404


def test_delete_of_an_ask_removes_everything_in_it_and_nothing_else(store: Store, acme: ApiClient) -> None:
    study, _ = make_run(store, acme)
    ask, _ = make_ask(store, acme.workspace_id)
    cancel_all(store, acme)
    assert acme.http.delete(f"/v1/asks/{ask}").json()["participant_count"] == 4
    assert not {"ask", "round"} & rows_of(store).keys()
    assert acme.get(f"/v1/studies/{study}").json()["participant_count"] == 1


@pytest.mark.parametrize("is_running", [False, True])
def test_delete_while_a_participant_is_active_is_a_conflict(store: Store, acme: ApiClient, *, is_running: bool) -> None:
    study, (id_,) = make_run(store, acme)
    if is_running:
        claim(store, id_)
    before = rows_of(store)
    answer = acme.http.delete(f"/v1/studies/{study}")
    assert (answer.status_code, answer.json()["error_code"]) == (409, "conflict")
    assert "1 pending or running" in answer.json()["error"]
    assert rows_of(store) == before


def test_delete_of_a_person_waits_for_the_end_of_its_studies(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    person = acme.post("/v1/people", ADA).json()["id"]
    make_participants(store, acme.workspace_id, study, iteration, person=UUID(person))
    cancel_all(store, acme)
    assert acme.http.delete(f"/v1/people/{person}").status_code == 409
    assert acme.http.delete(f"/v1/studies/{study}").status_code == 200
    assert acme.http.delete(f"/v1/people/{person}").status_code == 200
    assert acme.get(f"/v1/people/{person}").status_code == 404


@pytest.mark.parametrize("kind", ["studies", "asks", "people"])
def test_delete_in_another_workspace_is_not_found(store: Store, acme: ApiClient, api: str, kind: str) -> None:
    study, _ = make_study(store, acme.workspace_id)
    ask, _ = make_ask(store, acme.workspace_id)
    person = acme.post("/v1/people", ADA).json()["id"]
    cancel_all(store, acme)
    id_ = {"studies": study, "asks": ask, "people": person}[kind]
    with ApiClient(store, api, "other") as other:
        assert other.http.delete(f"/v1/{kind}/{id_}").status_code == 404
    assert acme.get(f"/v1/{kind}/{id_}").status_code == 200


KEYED: dict[str, Any] = {
    "/v1/studies": LAMPS,
    "/v1/people": ADA,
    "/v1/asks": {"question": "Which?", "variants": VARIANTS, "sample": 1},
}


@pytest.mark.parametrize("path", KEYED)
@pytest.mark.parametrize("with_run", [False, True])
def test_key_that_created_a_deleted_object_is_a_conflict(
    store: Store, acme: ApiClient, path: str, *, with_run: bool
) -> None:
    body = KEYED[path] | (
        {"iteration": {"content": WEB}, "run": {"sample": 1}} if with_run and "studies" in path else {}
    )
    headers = {"Idempotency-Key": "k"}
    made = acme.http.post(path, json=body, headers=headers).json()
    cancel_all(store, acme)
    id_ = made["dispatch"]["ask_id"] if "dispatch" in made else made["id"]
    assert acme.http.delete(f"{path}/{id_}").status_code == 200
    before = counts(store)
    again = acme.http.post(path, json=body, headers=headers)
    assert (again.status_code, again.json()["error_code"]) == (409, "conflict")
    assert counts(store) == before


def test_deleted_events_keep_their_positions(store: Store, acme: ApiClient) -> None:
    kept, _ = make_run(store, acme)
    study, _ = make_run(store, acme)
    cancel_all(store, acme)
    assign_positions(store)
    with store.read() as connection:
        last = events.last_position(connection, acme.workspace_id)
    assert acme.http.delete(f"/v1/studies/{study}").status_code == 200
    acme.post(f"/v1/studies/{kept}/run", {"sample": 1})
    assign_positions(store)
    with store.read() as connection:
        newest = events.last_position(connection, acme.workspace_id)
    assert newest == last + 1


def race(store: Store, caller: ApiClient, study: UUID, start: Callable[[], Any]) -> None:
    """Deletes the study and starts something in it at once: one of both wins, and nothing is left half."""
    deleted, started = at_once(lambda: caller.http.delete(f"/v1/studies/{study}"), start)
    assert (deleted.status_code, started.status_code) in {(200, 404), (409, 202)}
    if deleted.status_code == 200:
        assert rows_of(store) == {}


def test_delete_races_a_run(store: Store, acme: ApiClient) -> None:
    for _ in range(8):
        study, _ = make_study(store, acme.workspace_id)
        race(store, acme, study, lambda study=study: acme.post(f"/v1/studies/{study}/run", {"sample": 2}))
        cancel_all(store, acme)
        acme.http.delete(f"/v1/studies/{study}")


def test_delete_races_an_extend(store: Store, acme: ApiClient) -> None:
    for _ in range(8):
        study, (id_,) = make_run(store, acme)
        cancel_all(store, acme)
        race(store, acme, study, lambda id_=id_: acme.post(f"/v1/participants/{id_}/extend", {}))
        cancel_all(store, acme)
        acme.http.delete(f"/v1/studies/{study}")


def test_run_that_read_the_study_before_its_deletion_does_not_find_it(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    tries = []

    def insert(connection: Any) -> Any:
        tries.append(1)
        if len(tries) == 1 and connection.dialect.name == "postgresql":
            assert acme.http.delete(f"/v1/studies/{study}").status_code == 200
        with_study = connection.scalar(select(Tables.study.c.id).where(Tables.study.c.id == study))
        if with_study is None and len(tries) > 1:
            raise NotFound("gone")
        people = connection.scalars(select(Tables.person.c.id)).all()
        return dispatch.insert_participants(
            connection,
            acme.workspace_id,
            people[:1],
            study_id=study,
            iteration_id=iteration,
            max_interactions=1,
            seed=1,
        )

    if store.url.get_backend_name() == "postgresql":
        with pytest.raises(NotFound):
            store.write(insert)
        assert len(tries) == 2
    else:
        # SQLite has one writer at a time: no deletion happens within a transaction.
        assert store.write(insert)


def test_client_deletes(store: Store, acme: ApiClient) -> None:
    study, _ = make_study(store, acme.workspace_id)
    with Understudy(acme.api, acme.secret) as client:
        assert client.study_delete(study).id == study
        with pytest.raises(NotFound):
            client.study_delete(study)
