"""study_run and simulation_wait over HTTP: what is made, what is answered. Contract sections 5 and 6."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.contract.manual_worker import counts, dump_idle_tables, dump_tables, participant, run_steps, run_to_end
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import serve_in_thread, wait_until
from understudy.api.app import create_app
from understudy.domain.errors import Conflict
from understudy.domain.lifecycle import Status
from understudy.queue.notifications import Notifier
from understudy.service.waiters import WaiterRegistry
from understudy.settings import Settings
from understudy.store import dispatch, participants
from understudy.store.engine import Store

WAIT = "/v1/simulations/wait"


@pytest.fixture
def study(store: Store, acme: ApiClient) -> str:
    """A study with one iteration that says nothing about interactions."""
    return str(make_study(store, acme.workspace_id)[0])


def run(caller: ApiClient, study: object, **request: Any) -> dict[str, Any]:
    """The answer to a run that is dispatched."""
    answer = caller.post(f"/v1/studies/{study}/run", request)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    assert body["ok"] is True
    return body


def refused(answer: httpx.Response, code: str = "validation_error") -> str:
    """The error of a run, an extend or a wait that did not happen."""
    body = answer.json()
    assert answer.status_code == {"validation_error": 422, "not_found": 404}[code], body
    assert set(body) == {"ok", "error_kind", "error_code", "error", "retryable", "suggestions"}
    assert (body["ok"], body["error_kind"], body["error_code"], body["retryable"]) == (
        False,
        code,
        code,
        False,
    )
    return str(body["error"])


def people_of(caller: ApiClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = caller.get("/v1/people", limit=500).json()["items"]
    return items


def follow(caller: ApiClient, body: dict[str, Any]) -> httpx.Response:
    """Do what `next_action` says, to the letter."""
    method, _, path = body["next_action"]["rest"].partition(" ")
    arguments = body["next_action"]["arguments"] if method == "POST" else None
    return caller.http.request(method, path, json=arguments)


# -- the answer --------------------------------------------------------------------------------------------


def test_the_answer_has_the_documented_shape(store: Store, acme: ApiClient, study: str) -> None:
    answer = acme.post(f"/v1/studies/{study}/run", {"sample": 2})
    assert answer.status_code == 202
    body = answer.json()
    ids, aliases = body["dispatch"]["participant_ids"], body["dispatch"]["aliases"]
    assert aliases == [participant(store, UUID(id_))["alias"] for id_ in ids]
    (iteration,) = acme.get(f"/v1/studies/{study}", view="full").json()["iterations"]
    assert body.pop("next_action") == {
        "tool": "simulation_wait",
        "arguments": {"participant_ids": ids, "timeout": 600.0},
        "rest": "POST /v1/simulations/wait",
        "cli": f"understudy wait {aliases[0]} {aliases[1]} --timeout 600",
        "poll_after_seconds": 5,
        "why": "2 of 2 participants are not terminal yet.",
    }
    state = {"status": "pending", "outcome": None, "interaction_count": 0, "error_kind": None}
    assert body == {
        "ok": True,
        "dispatch": {
            "participant_ids": ids,
            "aliases": aliases,
            "study_id": study,
            "iteration_id": iteration["id"],
            "max_interactions": 20,
        },
        "participants": [{"participant_id": id_} | state for id_ in ids],
    }


def test_one_participant_is_made_per_person_in_the_order_given(store: Store, acme: ApiClient, study: str) -> None:
    first, second, third, _ = people_of(acme)
    refs = [third["alias"], first["id"], f"p-{second['alias'].removeprefix('tp-')}"]
    ids = run(acme, study, person_ids=refs)["dispatch"]["participant_ids"]
    who = [acme.get(f"/v1/participants/{id_}").json()["person_id"] for id_ in ids]
    assert who == [third["id"], first["id"], second["id"]]
    listed = acme.get("/v1/participants", study_id=study).json()["items"]
    assert {one["status"] for one in listed} == {"pending"}
    assert [one["id"] for one in listed] == ids
    again = run(acme, study, person_ids=[first["id"]])["dispatch"]["participant_ids"]
    assert not set(again) & set(ids), "the same person in two runs gives two participants"


def test_the_order_holds_also_where_an_alias_had_to_grow(
    store: Store, acme: ApiClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(UUID(f"{head}{str(uuid4())[4:]}") for head in ("abc1", "abc2", "def1", "abc3"))
    monkeypatch.setattr("understudy.store.dispatch.uuid4", lambda: next(drawn))
    everyone = [one["id"] for one in people_of(acme)]
    dispatched = run(acme, study, person_ids=everyone)["dispatch"]
    assert dispatched["aliases"] == ["t-abc", "t-abc2", "t-abc3", "t-def"]
    rows = [participant(store, UUID(id_)) for id_ in dispatched["participant_ids"]]
    assert [row["alias"] for row in rows] == dispatched["aliases"]
    assert [str(row["person_id"]) for row in rows] == everyone


def test_the_study_goes_by_its_alias_too(acme: ApiClient, study: str) -> None:
    alias = acme.get(f"/v1/studies/{study}").json()["alias"]
    assert run(acme, alias, sample=1)["dispatch"]["study_id"] == study


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_the_broker_away_is_no_failure_and_the_run_message_stays_owed(
    store: Store, acme: ApiClient, study: str, api_with: Callable[..., str]
) -> None:
    lonely = api_with(broker_url="redis://127.0.0.1:1/0")
    answer = acme.post(f"{lonely}/v1/studies/{study}/run", {"sample": 1})
    assert answer.status_code == 202
    (id_,) = answer.json()["dispatch"]["participant_ids"]

    def tried_in_vain() -> bool:
        row = participant(store, UUID(id_))
        return row["dispatch_no"] == 1 and row["dispatched_at"] is None

    wait_until(tried_in_vain)
    assert participant(store, UUID(id_))["status"] == Status.PENDING


# -- who and what ------------------------------------------------------------------------------------------


def test_who_takes_part_is_said_exactly_once_and_rightly(store: Store, acme: ApiClient, study: str) -> None:
    one, other, *_ = people_of(acme)
    before = dump_tables(store)
    path = f"/v1/studies/{study}/run"
    for wrong in (
        {},
        {"sample": None, "person_ids": None},
        {"sample": 1, "person_ids": [one["id"]]},
        {"person_ids": []},
        {"sample": 0},
        {"sample": -1},
        {"person_ids": [one["id"], other["id"], one["id"]]},
        {"person_ids": [one["id"], one["alias"]]},
        {"person_ids": [one["id"], one["id"].upper()]},
        {"person_ids": ["t-abc"]},
        {"person_ids": [one["id"], ""]},
    ):
        refused(acme.post(path, wrong))
    assert "twice" in refused(acme.post(path, {"person_ids": [one["id"], one["id"]]}))
    assert "4 people" in refused(acme.post(path, {"sample": 5}))
    for unknown in (str(uuid4()), "tp-abcdef"):
        assert unknown in refused(acme.post(path, {"person_ids": [one["id"], unknown]}), "not_found")
    assert dump_tables(store) == before


def test_a_sample_is_of_different_people(store: Store, acme: ApiClient, study: str) -> None:
    ids = run(acme, study, sample=4)["dispatch"]["participant_ids"]
    assert len({participant(store, UUID(id_))["person_id"] for id_ in ids}) == 4


def test_the_same_seed_gives_the_same_people_and_seeds_in_the_same_order(
    store: Store, acme: ApiClient, study: str
) -> None:
    acme.post("/v1/people", {"generate": 40, "seed": 3})

    def drawn(seed: int | None) -> list[tuple[UUID, int]]:
        ids = run(acme, study, sample=8, seed=seed)["dispatch"]["participant_ids"]
        rows = [participant(store, UUID(id_)) for id_ in ids]
        return [(row["person_id"], row["seed"]) for row in rows]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert drawn(None) != drawn(None)
    assert drawn(2**63 - 1) == drawn(2**63 - 1)


def test_the_latest_iteration_runs_unless_another_of_this_study_is_named(store: Store, acme: ApiClient) -> None:
    study, (first, last) = make_study(store, acme.workspace_id, iterations=2)
    _, (elsewhere,) = make_study(store, acme.workspace_id)
    alias = acme.get(f"/v1/studies/{study}", view="full").json()["iterations"][0]["alias"]
    for given, expected in ((None, last), (str(first), first), (alias, first), (str(last), last)):
        assert run(acme, study, sample=1, iteration_id=given)["dispatch"]["iteration_id"] == str(expected)
    before = dump_idle_tables(store)
    path = f"/v1/studies/{study}/run"
    for unknown in (str(elsewhere), str(uuid4())):
        refused(acme.post(path, {"sample": 1, "iteration_id": unknown}), "not_found")
    refused(acme.post(path, {"sample": 1, "iteration_id": "s-abc"}))
    assert dump_tables(store) == before


def test_a_study_without_an_iteration_cannot_run(store: Store, acme: ApiClient) -> None:
    study, _ = make_study(store, acme.workspace_id, iterations=0)
    assert "no iteration" in refused(acme.post(f"/v1/studies/{study}/run", {"sample": 1}))
    refused(acme.post(f"/v1/studies/{uuid4()}/run", {"sample": 1}), "not_found")


def test_max_interactions_are_the_calls_else_the_iterations_else_20(store: Store, acme: ApiClient) -> None:
    for of_iteration, of_call, expected in ((None, None, 20), (7, None, 7), (7, 3, 3), (None, 1_000, 1_000)):
        study, _ = make_study(store, acme.workspace_id, max_interactions=of_iteration)
        body = run(acme, study, sample=1, max_interactions=of_call)
        assert body["dispatch"]["max_interactions"] == expected
    for wrong in (0, -1, 1_001):
        refused(acme.post(f"/v1/studies/{study}/run", {"sample": 1, "max_interactions": wrong}))


def test_all_participants_are_made_or_none(
    store: Store, acme: ApiClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dispatch.record_bulk

    def record_most(connection: Any, ids: Sequence[UUID], *event: Any, via_outbox: bool) -> None:
        real(connection, ids[:-1], *event, via_outbox=via_outbox)
        raise Conflict("The last one did not get in.")

    before = dump_tables(store)
    with monkeypatch.context() as patched:
        patched.setattr(dispatch, "record_bulk", record_most)
        answer = acme.post(f"/v1/studies/{study}/run", {"sample": 4})
    assert (answer.status_code, answer.json()["error_kind"]) == (409, "conflict")
    assert dump_tables(store) == before
    run(acme, study, sample=4)
    assert counts(store)["participant"] == 4


def test_more_than_one_run_may_have_is_refused_naming_how_many(
    store: Store, acme: ApiClient, study: str, api_with: Callable[..., str]
) -> None:
    narrow = api_with(max_participants_per_run=3)
    path = f"{narrow}/v1/studies/{study}/run"
    for request in ({"sample": 4}, {"person_ids": [one["id"] for one in people_of(acme)]}):
        assert "at most 3" in refused(acme.post(path, request))
    assert counts(store)["participant"] == 0
    assert acme.post(path, {"sample": 3}).status_code == 202


# -- waiting -----------------------------------------------------------------------------------------------


def test_a_timeout_out_of_bounds_is_refused_by_everything_that_waits(store: Store, acme: ApiClient, study: str) -> None:
    study_id = UUID(study)
    iteration = UUID(run(acme, study, sample=1)["dispatch"]["iteration_id"])
    (ended,) = make_participants(store, acme.workspace_id, study_id, iteration)
    run_to_end(store, ended, 1)
    before = dump_idle_tables(store)
    requests = {
        f"/v1/studies/{study}/run": '"sample": 1, "wait": true',
        "/v1/simulations/extend": f'"participant_id": "{ended}"',
        f"/v1/participants/{ended}/extend": '"wait": true',
        WAIT: f'"participant_ids": ["{ended}"]',
    }
    for path, fields in requests.items():
        for timeout, status in {
            "0": 422,
            "-1": 422,
            "-0.0": 422,
            "3600.1": 422,
            "1e9": 422,
            "1e400": 422,
            "NaN": 400,
            "Infinity": 400,
            '"5"': 422,
            "true": 422,
            "null": 422,
            "[5]": 422,
        }.items():
            answer = acme.http.post(path, content=f'{{{fields}, "timeout": {timeout}}}')
            assert answer.status_code == status, (path, timeout)
            assert (answer.json()["ok"], answer.json()["error_kind"]) == (False, "validation_error")
    assert dump_tables(store) == before
    for timeout in ("3600", "3600.0", "1e-9"):
        answer = acme.http.post(WAIT, content=f'{{"participant_ids": ["{ended}"], "timeout": {timeout}}}')
        assert answer.status_code == 200, timeout


def test_a_server_that_waits_less_says_so_and_its_default_is_what_it_can(
    store: Store, acme: ApiClient, study: str, api_with: Callable[..., str]
) -> None:
    brief = api_with(max_wait_s=0.2)
    path = f"{brief}/v1/studies/{study}/run"
    assert "at most 0.2" in refused(acme.post(path, {"sample": 1, "timeout": 0.3}))
    answer = acme.post(path, {"sample": 1})
    assert answer.json()["next_action"]["arguments"]["timeout"] == 0.2
    assert follow(acme, answer.json()).status_code == 202
    waited = acme.post(path, {"sample": 1, "wait": True})
    assert (waited.status_code, waited.json()["error_kind"]) == (202, "wait_timeout")


def test_a_wait_that_runs_out_tells_progress_and_its_next_action_gets_the_result(
    store: Store, acme: ApiClient, study: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a notice can end a wait in time.
    monkeypatch.setattr("understudy.service.waiters.POLL_INTERVAL_S", 20)
    first = acme.post(f"/v1/studies/{study}/run", {"sample": 3, "wait": True, "timeout": 0.1})
    body = first.json()
    assert first.status_code == 202
    assert set(body) == {
        *("ok", "error_kind", "error_code", "error", "retryable", "suggestions"),
        *("dispatch", "participants", "progress", "next_action"),
    }
    assert (body["ok"], body["error_kind"], body["error_code"]) == (False, "wait_timeout", "wait_timeout")
    assert (body["retryable"], body["progress"]) == (False, {"done": 0, "total": 3})
    ids = [UUID(id_) for id_ in body["dispatch"]["participant_ids"]]

    run_to_end(store, ids[0], 2)
    again = acme.post(WAIT, body["next_action"]["arguments"] | {"timeout": 0.1})
    assert (again.status_code, again.json()["progress"]) == (202, {"done": 1, "total": 3})
    assert again.json()["next_action"]["arguments"]["timeout"] == 600, "never too short a wait again"

    notifier = Notifier(settings.notifications_url)
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(follow, acme, again.json())
        for id_, status in zip(ids[1:], ("failed", "cancelled"), strict=True):
            run_to_end(store, id_, 1, status)
            notifier.enqueue([id_])
        answer = answering.result()
    notifier.close()
    assert (answer.status_code, answer.json()["ok"]) == (200, True)
    states = [(one["status"], one["outcome"], one["error_kind"]) for one in answer.json()["participants"]]
    assert states == [
        ("completed", "gave_up", None),
        ("failed", None, "environment_error"),
        ("cancelled", None, None),
    ]
    assert "next_action" not in answer.json()
    assert counts(store)["participant"] == 3, "waiting dispatches nothing"


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_wait_finds_out_by_itself_when_notices_are_lost(
    store: Store, acme: ApiClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.service.waiters.POLL_INTERVAL_S", 0.05)
    body = run(acme, study, sample=1)
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(follow, acme, body)
        run_to_end(store, UUID(body["dispatch"]["participant_ids"][0]), 1)
        assert answering.result().status_code == 200


def test_the_next_action_names_up_to_100_ids_and_else_the_study(store: Store, acme: ApiClient, study: str) -> None:
    acme.post("/v1/people", {"generate": 97})
    hundred = run(acme, study, sample=100)
    assert len(hundred["next_action"]["arguments"]["participant_ids"]) == 100
    body = run(acme, study, sample=101)
    action = body["next_action"]
    assert (action["tool"], action["rest"]) == ("study_get", f"GET /v1/studies/{study}?view=summary")
    assert action["arguments"] == {"study_id": study, "view": "summary"}
    summary = follow(acme, body).json()
    assert (summary["participant_count"], summary["pending_count"], summary["partial"]) == (201, 201, True)


def test_the_next_action_for_many_of_several_studies_names_the_first_who_are_not_done(
    store: Store, acme: ApiClient
) -> None:
    made: list[list[UUID]] = []
    for _ in range(2):
        study, (iteration,) = make_study(store, acme.workspace_id)
        made.append(make_participants(store, acme.workspace_id, study, iteration, 60))
    acme.post("/v1/simulations/cancel", {"participant_id": str(made[0][0])})
    asked = [str(id_) for some in made for id_ in some]
    body = acme.post(WAIT, {"participant_ids": asked, "timeout": 0.1}).json()
    action = body["next_action"]
    assert (action["tool"], action["rest"]) == ("simulation_wait", f"POST {WAIT}")
    assert action["arguments"]["participant_ids"] == asked[1:101]
    assert "119 of 120" in action["why"]
    assert "first 100" in action["why"]
    assert len(action["cli"].split()) == 2 + 100 + 2

    # What is left is of one study: its summary tells of all of them.
    acme.post("/v1/simulations/cancel", {"study_id": str(participant(store, made[0][0])["study_id"])})
    body = acme.post(WAIT, {"participant_ids": asked, "timeout": 0.1}).json()
    assert body["next_action"]["tool"] == "study_get"
    summary = follow(acme, body).json()
    assert (summary["participant_count"], summary["pending_count"]) == (60, 60)


def test_waiting_takes_participants_of_any_kind_each_once_in_the_order_given(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    one, other = make_participants(store, acme.workspace_id, study, iteration, 2)
    _, ((of_ask, _), _) = make_ask(store, acme.workspace_id)
    for id_ in (one, other, of_ask):
        run_to_end(store, id_, 1)
    alias = participant(store, one)["alias"]
    refs = [str(of_ask), str(other), alias, str(one), str(other).upper(), f"p{alias}"]
    answer = acme.post(WAIT, {"participant_ids": refs})
    assert answer.status_code == 200
    expected = [str(of_ask), str(other), str(one)]
    assert answer.json()["dispatch"]["participant_ids"] == expected
    assert [state["participant_id"] for state in answer.json()["participants"]] == expected


def test_a_wait_for_nobody_or_for_somebody_unknown_is_refused_at_once(store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    (pending,) = make_participants(store, acme.workspace_id, study, iteration)
    for wrong in ({}, {"participant_ids": []}, {"participant_ids": None}, {"participant_ids": str(pending)}):
        refused(acme.post(WAIT, wrong))
    for wrong in ("tp-abc", "x"):
        refused(acme.post(WAIT, {"participant_ids": [str(pending), wrong]}))
    for unknown in (str(uuid4()), "t-abcdef"):
        refused(acme.post(WAIT, {"participant_ids": [str(pending), unknown]}), "not_found")


def test_dispatch_and_cancel_do_not_wait_behind_those_who_wait(
    store: Store, acme: ApiClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.service.waiters.READ_TIMEOUT_S", 120)
    waited_for = run(acme, study, sample=1)
    looks, release = Semaphore(0), Event()
    real = participants.terminal_states

    def hang(*asked: Any) -> Any:
        looks.release()
        release.wait(60)
        return real(*asked)

    monkeypatch.setattr(participants, "terminal_states", hang)
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(follow, acme, waited_for) for _ in range(60)]
        try:
            assert looks.acquire(timeout=60)
            other = run(acme, study, sample=1)["dispatch"]["participant_ids"][0]
            cancelled = acme.post("/v1/simulations/cancel", {"participant_id": other})
            assert cancelled.json()["summary"]["cancelled_count"] == 1
            assert acme.post("/v1/simulations/extend", {"participant_id": other}).status_code == 202
            assert acme.get("/healthz").status_code == 200
            assert acme.get("/readyz").status_code == 200
            begun = 1
            while looks.acquire(blocking=False):
                begun += 1
            assert begun <= 2, "one at those who are told of and one at everybody, no more at a time"
        finally:
            release.set()
        one = waited_for["dispatch"]["participant_ids"][0]
        acme.post("/v1/simulations/cancel", {"participant_id": one})
        assert {answering.result().status_code for answering in waiting} == {200}


def test_who_waits_holds_no_connection(
    store: Store, acme: ApiClient, study: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.service.waiters.POLL_INTERVAL_S", 60)
    body = run(acme, study, sample=1)
    app = create_app(settings)
    with serve_in_thread(app) as here, ThreadPoolExecutor(20) as pool:
        request = body["next_action"]["arguments"]
        waiting = [pool.submit(acme.post, f"{here}{WAIT}", request) for _ in range(20)]
        wait_until(lambda: app.state.service.waiting.waiters == 20)
        wait_until(lambda: app.state.service.store.engine.pool.checkedout() == 0)
        acme.post(f"{here}/v1/simulations/cancel", {"participant_id": request["participant_ids"][0]})
        assert {answering.result().status_code for answering in waiting} == {200}


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_client_that_goes_away_ends_its_own_wait_and_nothing_else(
    store: Store, acme: ApiClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fates: list[str] = []
    real = WaiterRegistry.wait_until_terminal

    async def until_done(self: WaiterRegistry, *waited_for: Any) -> Any:
        fates.append("begun")
        try:
            return await real(self, *waited_for)
        except asyncio.CancelledError:
            fates.append("ended")
            raise

    monkeypatch.setattr(WaiterRegistry, "wait_until_terminal", until_done)
    monkeypatch.setattr("understudy.service.waiters.POLL_INTERVAL_S", 0.05)
    body = run(acme, study, sample=1)
    one = UUID(body["dispatch"]["participant_ids"][0])
    run_steps(store, one, 1)
    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(follow, acme, body)
        wait_until(lambda: len(fates) == 1)
        host, port = acme.api.removeprefix("http://").split(":")
        request = f'{{"participant_ids": ["{one}"]}}'
        with socket.create_connection((host, int(port))) as leaving:
            leaving.sendall(
                f"POST {WAIT} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {acme.secret}\r\n"
                f"Content-Length: {len(request)}\r\n\r\n{request}".encode()
            )
            wait_until(lambda: len(fates) == 2)
        wait_until(lambda: fates == ["begun", "begun", "ended"])
        assert participant(store, one)["status"] == Status.RUNNING
        acme.post("/v1/simulations/cancel", {"participant_id": str(one)})
        assert staying.result().status_code == 200
    assert fates == ["begun", "begun", "ended"]
