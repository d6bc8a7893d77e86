"""Idempotency-Key: a repeated dispatch is done once. Contract section 6."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from tests.contract.manual_worker import counts, make_run
from tests.factories import make_study
from tests.http_client import ApiClient
from understudy.store import lifecycle
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables


def post(caller: ApiClient, path: str, body: dict[str, Any], key: str) -> httpx.Response:
    return caller.http.post(path, json=body, headers={"Idempotency-Key": key})


def participants_of(answer: httpx.Response) -> tuple[int, list[str]]:
    """Status and participants of a dispatch."""
    return answer.status_code, answer.json()["dispatch"]["participant_ids"]


@pytest.fixture
def path(store: Store, acme: ApiClient) -> str:
    study, _ = make_study(store, acme.workspace_id)
    return f"/v1/studies/{study}/run"


@pytest.fixture
def source(store: Store, acme: ApiClient) -> UUID:
    """A terminal participant."""
    _, (id_,) = make_run(store, acme)
    store.write(lambda connection: lifecycle.cancel(connection, acme.workspace_id, [id_]))
    return id_


def test_a_repeated_run_dispatches_nothing_and_shows_the_current_status(
    store: Store, acme: ApiClient, path: str
) -> None:
    first = post(acme, path, {"sample": 3}, "k").json()
    for id_ in first["dispatch"]["participant_ids"]:
        acme.post("/v1/simulations/cancel", {"participant_id": id_})
    second = post(acme, path, {"sample": 3}, "k")
    assert (second.status_code, second.json()["dispatch"]) == (202, first["dispatch"])
    assert [one["status"] for one in second.json()["participants"]] == ["cancelled"] * 3
    assert counts(store)["participant"] == 3


def test_fifty_concurrent_runs_with_one_key_dispatch_once(store: Store, acme: ApiClient, path: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(acme, path, {"sample": 2}, "k"), range(50)))
    assert [participants_of(answer) for answer in answers] == [(202, participants_of(answers[0])[1])] * 50
    assert counts(store)["participant"] == 2


def test_a_request_with_a_default_spelled_out_is_the_same_request(store: Store, acme: ApiClient, path: str) -> None:
    post(acme, path, {"sample": 1}, "k")
    assert post(acme, path, {"sample": 1, "wait": False}, "k").status_code == 202
    assert post(acme, path, {"sample": 2}, "k").status_code == 409
    assert counts(store)["participant"] == 1


def test_an_error_is_not_stored(store: Store, acme: ApiClient, path: str) -> None:
    assert post(acme, path, {"sample": 99}, "k").status_code == 422
    assert post(acme, path, {"sample": 1}, "k").status_code == 202


def test_a_key_belongs_to_its_workspace_and_path(store: Store, acme: ApiClient, rival: ApiClient, path: str) -> None:
    post(acme, path, {"sample": 1}, "k")
    study, _ = make_study(store, rival.workspace_id)
    assert post(rival, f"/v1/studies/{study}/run", {"sample": 2}, "k").status_code == 202
    other, _ = make_study(store, acme.workspace_id)
    assert post(acme, f"/v1/studies/{other}/run", {"sample": 2}, "k").status_code == 202
    assert counts(store)["participant"] == 5


def test_a_key_is_free_again_after_a_day(store: Store, acme: ApiClient, path: str) -> None:
    post(acme, path, {"sample": 1}, "k")
    aged = update(Tables.idempotency).values(created_at=store_clock(-24 * 3600 - 1))
    store.write(lambda connection: connection.execute(aged))
    post(acme, path, {"sample": 1}, "k")
    assert counts(store)["participant"] == 2


@pytest.mark.parametrize("own_endpoint", [True, False])
def test_fifty_concurrent_extends_with_one_key_make_one_child(
    store: Store, acme: ApiClient, source: UUID, own_endpoint: bool
) -> None:
    path, body = "/v1/simulations/extend", {"participant_id": str(source)}
    if own_endpoint:
        path, body = f"/v1/participants/{source}/extend", {}
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(acme, path, body, "k"), range(50)))
    answers.append(post(acme, path, body, "k"))
    assert [participants_of(answer) for answer in answers] == [(202, participants_of(answers[0])[1])] * 51
    assert counts(store)["participant"] == 2


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_out_of_bounds_is_refused(store: Store, acme: ApiClient, path: str, key: str) -> None:
    answer = post(acme, path, {"sample": 1}, key)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["error"]
    assert counts(store)["participant"] == 0
