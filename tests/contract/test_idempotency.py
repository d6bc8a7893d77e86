"""Idempotency-Key: a repeated dispatch is done once. Contract section 6."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, update

from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from understudy.store import lifecycle
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

_p = Tables.participant


def post(caller: ApiClient, path: str, body: dict[str, Any], key: str) -> httpx.Response:
    return caller.http.post(path, json=body, headers={"Idempotency-Key": key})


def participant_count(store: Store) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(_p)) or 0


@pytest.fixture
def path(store: Store, acme: ApiClient) -> str:
    study, _ = make_study(store, acme.workspace_id)
    return f"/v1/studies/{study}/run"


def test_a_repeated_run_is_done_once(store: Store, acme: ApiClient, path: str) -> None:
    first = post(acme, path, {"sample": 3}, "k")
    second = post(acme, path, {"sample": 3}, "k")
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json()["dispatch"] == first.json()["dispatch"]
    assert participant_count(store) == 3


def test_a_repetition_tells_todays_status(store: Store, acme: ApiClient, path: str) -> None:
    first = post(acme, path, {"sample": 1}, "k")
    acme.post("/v1/simulations/cancel", {"participant_id": first.json()["dispatch"]["participant_ids"][0]})
    second = post(acme, path, {"sample": 1}, "k")
    assert second.json()["participants"][0]["status"] == "cancelled"


def test_fifty_at_once_are_done_once(store: Store, acme: ApiClient, path: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(acme, path, {"sample": 2}, "k"), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({tuple(answer.json()["dispatch"]["participant_ids"]) for answer in answers}) == 1
    assert participant_count(store) == 2


def test_a_key_used_for_another_request_is_a_conflict(store: Store, acme: ApiClient, path: str) -> None:
    post(acme, path, {"sample": 1}, "k")
    answer = post(acme, path, {"sample": 2}, "k")
    assert answer.status_code == 409
    assert answer.json()["error_code"] == "conflict"
    assert participant_count(store) == 1


def test_a_default_that_is_given_is_the_same_request(store: Store, acme: ApiClient, path: str) -> None:
    post(acme, path, {"sample": 1}, "k")
    assert post(acme, path, {"sample": 1, "wait": False}, "k").status_code == 202
    assert participant_count(store) == 1


def test_an_error_is_not_stored(store: Store, acme: ApiClient, path: str) -> None:
    assert post(acme, path, {"sample": 99}, "k").status_code == 422
    assert post(acme, path, {"sample": 1}, "k").status_code == 202


def test_a_key_belongs_to_its_workspace_and_path(store: Store, acme: ApiClient, rival: ApiClient, path: str) -> None:
    post(acme, path, {"sample": 1}, "k")
    study, _ = make_study(store, rival.workspace_id)
    assert post(rival, f"/v1/studies/{study}/run", {"sample": 2}, "k").status_code == 202
    other, _ = make_study(store, acme.workspace_id)
    assert post(acme, f"/v1/studies/{other}/run", {"sample": 2}, "k").status_code == 202
    assert participant_count(store) == 5


def test_a_day_later_the_key_is_free(store: Store, acme: ApiClient, path: str) -> None:
    post(acme, path, {"sample": 1}, "k")
    aged = update(Tables.idempotency).values(created_at=store_clock(-24 * 3600 - 1))
    store.write(lambda connection: connection.execute(aged))
    post(acme, path, {"sample": 1}, "k")
    assert participant_count(store) == 2


@pytest.mark.parametrize("one", [True, False])
def test_a_repeated_extend_is_done_once(store: Store, acme: ApiClient, one: bool) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (source,) = make_participants(store, acme.workspace_id, study, iteration)
    store.write(lambda connection: lifecycle.cancel(connection, acme.workspace_id, [source]))
    path = f"/v1/participants/{source}/extend" if one else "/v1/simulations/extend"
    body: dict[str, Any] = {} if one else {"participant_id": str(source)}
    answers = [post(acme, path, body, "k").json()["dispatch"] for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert UUID(answers[0]["extended_from"]) == source
    assert participant_count(store) == 2


def test_fifty_extends_at_once_are_done_once(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (source,) = make_participants(store, acme.workspace_id, study, iteration)
    store.write(lambda connection: lifecycle.cancel(connection, acme.workspace_id, [source]))
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(acme, f"/v1/participants/{source}/extend", {}, "k"), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({tuple(answer.json()["dispatch"]["participant_ids"]) for answer in answers}) == 1
    assert participant_count(store) == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_out_of_bounds_is_refused(store: Store, acme: ApiClient, path: str, key: str) -> None:
    answer = post(acme, path, {"sample": 1}, key)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["error"]
    assert participant_count(store) == 0
