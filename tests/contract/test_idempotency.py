"""Idempotency keys: a repeated start happens once. Contract section 6, P11."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as settings_of_hypothesis
from sqlalchemy import insert, update

from tests.contract.interfaces import INTERFACES, ROUTES
from tests.contract.lost_commits import LostCommits
from tests.contract.manual_worker import counts, make_run
from tests.contract.parity_table import LAMPS, WEB
from tests.factories import make_ask, make_study
from tests.http_client import ApiClient
from tests.servers import serve_in_thread
from understudy.api.app import create_app
from understudy.settings import Settings
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


# -- one key, however the start is spelled and whichever interface repeats it ------------------------------


class Starts(NamedTuple):
    """A start of each operation, in as many spellings as callers use."""

    acme: ApiClient
    ids: dict[str, list[str]]

    def send(self, operation: str, interface: str, variant: int, waits: bool) -> list[str]:
        """Returns the ids that the answer names."""
        spelled = {name: spellings[variant % len(spellings)] for name, spellings in self.ids.items()}
        arguments = STARTS[operation](spelled, variant) | {"idempotency_key": "k"}
        if waits and operation in WAITING:
            arguments |= {"wait": True, "timeout": 0.05}
        with INTERFACES[interface](self.acme) as call:
            result = call(operation, arguments)
        assert result is not None, (operation, interface)
        assert result.error is None, result
        return created(result.envelope)


def created(envelope: dict[str, Any]) -> list[str]:
    if "dispatch" in envelope:
        return list(envelope["dispatch"]["participant_ids"])
    ids = [envelope["id"]] if "id" in envelope else [one["id"] for one in envelope["items"]]
    return ids + (created(envelope["run"]) if "run" in envelope else [])


WAITING = {"study_run", "ask_run", "ask_round", "simulation_extend"}
BLANK = ({}, {"instruction": None}, {"instruction": ""}, {"instruction": " \t"})
#: Operation -> its arguments, from the spelled ids and the number of the variant.
STARTS: dict[str, Callable[[dict[str, str], int], dict[str, Any]]] = {
    "study_create": lambda ids, _: LAMPS | {"iteration": {"content": WEB}, "run": {"person_ids": [ids["person"]]}},
    "study_add_iteration": lambda ids, _: {"study_id": ids["study"], "content": WEB},
    "study_run": lambda ids, _: {"study_id": ids["study"], "person_ids": [ids["person"]], "seed": 1},
    "person_create": lambda _, __: {"generate": 2, "seed": 1},
    "ask_run": lambda ids, _: {"question": "Which?", "variants": ["A", "B"], "person_ids": [ids["person"]]},
    "ask_round": lambda ids, _: {"ask_id": ids["ask"], "variants": ["A", "C"]},
    "simulation_extend": lambda ids, variant: {"participant_id": ids["source"], **BLANK[variant % len(BLANK)]},
}
#: Interfaces that can express every start in these tests.
ALL = ("rest", "client", "client-async", "mcp-legacy", "mcp-auto")


@pytest.fixture
def starts(store: Store, acme: ApiClient, source: UUID) -> Starts:
    study, _ = make_study(store, acme.workspace_id)
    ask, _ = make_ask(store, acme.workspace_id, rounds=1, each=1)
    person = acme.get("/v1/people", limit=1).json()["items"][0]
    objects = {
        "study": acme.get(f"/v1/studies/{study}").json() | {"id": str(study)},
        "ask": acme.get(f"/v1/asks/{ask}").json() | {"id": str(ask)},
        "source": acme.get(f"/v1/participants/{source}").json(),
        "person": person,
    }
    return Starts(acme, {name: [one["id"], one["id"].upper(), one["alias"]] for name, one in objects.items()})


def totals(store: Store) -> dict[str, int]:
    return {name: count for name, count in counts(store).items() if name in {"study", "iteration", "person", "ask"}} | {
        "participant": counts(store)["participant"]
    }


@settings_of_hypothesis(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
@pytest.mark.parametrize("operation", STARTS)
def test_a_start_happens_once_however_it_is_repeated(
    store: Store, starts: Starts, operation: str, data: strategies.DataObject
) -> None:
    """Over spellings of ids and texts, interfaces, and changed waits, one after another and at once."""
    call = strategies.tuples(strategies.sampled_from(ALL), strategies.integers(0, 11), strategies.booleans())
    calls = data.draw(strategies.lists(call, min_size=2, max_size=3))
    first = starts.send(operation, "rest", 0, waits=False)
    before = totals(store)
    if data.draw(strategies.booleans()):
        with ThreadPoolExecutor(len(calls)) as pool:
            repeated = list(pool.map(lambda one: starts.send(operation, *one), calls))
    else:
        repeated = [starts.send(operation, *one) for one in calls]
    assert repeated == [first] * len(calls)
    assert totals(store) == before


@pytest.mark.parametrize("own_endpoint", [True, False])
def test_fifty_concurrent_extends_with_one_key_make_one_child(
    store: Store, acme: ApiClient, source: UUID, own_endpoint: bool
) -> None:
    def send(number: int) -> httpx.Response:
        if number % 2 == own_endpoint:
            return post(acme, f"/v1/participants/{source}/extend", {"instruction": " "}, "k")
        return post(acme, "/v1/simulations/extend", {"participant_id": str(source).upper()}, "k")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(50)))
    answers.append(send(0))
    assert [participants_of(answer) for answer in answers] == [(202, participants_of(answers[0])[1])] * 51
    assert counts(store)["participant"] == 2


def test_a_repetition_waits_if_it_asks_for_it(acme: ApiClient, path: str) -> None:
    first = post(acme, path, {"sample": 1}, "k").json()
    second = post(acme, path, {"sample": 1, "wait": True, "timeout": 0.05}, "k")
    assert (second.status_code, second.json()["error_code"]) == (202, "wait_timeout")
    assert second.json()["dispatch"]["participant_ids"] == first["dispatch"]["participant_ids"]


@pytest.mark.parametrize("operation", STARTS)
def test_a_start_whose_answer_is_lost_after_the_commit_is_not_repeated(
    store: Store, starts: Starts, settings: Settings, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """A process that loses its store right after the commit knows no more than one that is killed there."""
    app = create_app(settings)
    lost = LostCommits(app.state.service.store, monkeypatch)
    lost.limit, lost.can_read = 1, False
    before = totals(store)
    arguments = STARTS[operation]({name: spellings[0] for name, spellings in starts.ids.items()}, 0)
    with serve_in_thread(app) as address, httpx.Client(headers=dict(starts.acme.http.headers)) as http:
        (route,) = (one for one in ROUTES[operation] if one.startswith("POST"))
        path = route.removeprefix("POST ").format_map(arguments)
        body = {name: value for name, value in arguments.items() if f"{{{name}}}" not in route}
        answer = http.post(address + path, json=body, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["error_code"]) == (503, "service_unavailable")
    after = totals(store)
    assert after != before
    starts.send(operation, "rest", 1, waits=False)
    assert totals(store) == after


# -- keys that the previous version stored -----------------------------------------------------------------


def previous_hash(fields: dict[str, Any]) -> str:
    """The hash that the previous version stored: of the request as its caller spelled it."""
    canonical = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def store_previous_key(
    store: Store, acme: ApiClient, path: str, fields: dict[str, Any], answer: dict[str, Any]
) -> None:
    row = {
        "workspace_id": acme.workspace_id,
        "path": path,
        "key": "old",
        "request_hash": previous_hash(fields),
        "answer": answer,
        "created_at": store_clock(-60),
    }
    store.write(lambda connection: connection.execute(insert(Tables.idempotency).values(row)))


EXTEND = {"additional_steps": 10, "instruction": None, "wait": False, "timeout": 600.0}


@pytest.mark.parametrize("stored_path", ["/v1/participants/{upper}/extend", "/v1/participants/{alias}/extend", ""])
@pytest.mark.parametrize("body", [{}, {"wait": True, "timeout": 0.05}])
def test_a_key_of_the_previous_version_is_honoured_under_every_spelling(
    store: Store, acme: ApiClient, source: UUID, stored_path: str, body: dict[str, Any]
) -> None:
    child = acme.post("/v1/simulations/extend", {"participant_id": str(source)}).json()["dispatch"]
    alias = acme.get(f"/v1/participants/{source}").json()["alias"]
    path = stored_path.format(upper=str(source).upper(), alias=alias) or "/v1/simulations/extend"
    spelled = EXTEND if stored_path else EXTEND | {"participant_id": str(source)}
    store_previous_key(store, acme, path, spelled, child)
    before = counts(store)["participant"]
    answer = post(acme, f"/v1/participants/{source}/extend", body, "old")
    assert answer.json()["dispatch"]["participant_ids"] == child["participant_ids"]
    refused = post(acme, f"/v1/participants/{source}/extend", {"additional_steps": 3}, "old")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "conflict")
    assert counts(store)["participant"] == before


def test_a_key_of_the_previous_version_belongs_to_its_target(store: Store, acme: ApiClient, source: UUID) -> None:
    child = acme.post("/v1/simulations/extend", {"participant_id": str(source)}).json()["dispatch"]
    store_previous_key(store, acme, f"/v1/participants/{source}/extend", EXTEND, child)
    study, _ = make_study(store, acme.workspace_id)
    assert post(acme, f"/v1/studies/{study}/run", {"sample": 1}, "old").status_code == 202


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_out_of_bounds_is_refused(store: Store, acme: ApiClient, path: str, key: str) -> None:
    answer = post(acme, path, {"sample": 1}, key)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["error"]
    assert counts(store)["participant"] == 0
