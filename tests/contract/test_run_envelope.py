"""study_run and simulation_wait over HTTP: what is made, what is answered. Contract sections 5 and 6."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.contract.manual_worker import counts, dump_tables, make_run, participant, run_steps, run_to_end
from tests.factories import make_ask, make_study
from tests.http_client import ApiClient
from tests.parameters import one_store
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
EXTEND = "/v1/simulations/extend"


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


def refused(answer: httpx.Response) -> str:
    """The message of a run, an extend or a wait that was refused."""
    body = answer.json()
    error, _ = body.pop("error"), body.pop("suggestions")
    expected = {"ok": False, "error_kind": "validation_error", "error_code": "validation_error", "retryable": False}
    assert (answer.status_code, body) == (422, expected)
    return str(error)


def people_of(caller: ApiClient) -> list[dict[str, Any]]:
    return caller.get("/v1/people", limit=500).json()["items"]


def follow(caller: ApiClient, body: dict[str, Any], **changes: Any) -> httpx.Response:
    """Send the request that `next_action` names."""
    method, _, path = body["next_action"]["rest"].partition(" ")
    arguments = body["next_action"]["arguments"] | changes if method == "POST" else None
    return caller.http.request(method, path, json=arguments)


# -- the answer --------------------------------------------------------------------------------------------


def test_the_answer_has_the_documented_shape(store: Store, acme: ApiClient, study: str) -> None:
    full = acme.get(f"/v1/studies/{study}", view="full").json()
    body = run(acme, full["alias"], sample=2)
    ids = body["dispatch"]["participant_ids"]
    aliases = [participant(store, UUID(id_))["alias"] for id_ in ids]
    state = {"status": "pending", "outcome": None, "interaction_count": 0, "error_kind": None}
    assert body == {
        "ok": True,
        "dispatch": {
            "participant_ids": ids,
            "aliases": aliases,
            "study_id": study,
            "iteration_id": full["iterations"][0]["id"],
            "max_interactions": 20,
        },
        "participants": [{"participant_id": id_} | state for id_ in ids],
        "next_action": {
            "tool": "simulation_wait",
            "arguments": {"participant_ids": ids, "timeout": 600.0},
            "rest": "POST /v1/simulations/wait",
            "cli": f"understudy wait {aliases[0]} {aliases[1]} --timeout 600",
            "poll_after_seconds": 5,
            "why": "2 of 2 participants are not terminal yet.",
        },
    }


def test_one_participant_is_made_per_person_in_the_order_given(acme: ApiClient, study: str) -> None:
    first, second, third, _ = people_of(acme)
    refs = [third["alias"], first["id"], f"p-{second['alias'].removeprefix('tp-')}"]
    ids = run(acme, study, person_ids=refs)["dispatch"]["participant_ids"]
    listed = acme.get("/v1/participants", study_id=study).json()["items"]
    expected = [(id_, person["id"], "pending") for id_, person in zip(ids, (third, first, second), strict=True)]
    assert [(one["id"], one["person_id"], one["status"]) for one in listed] == expected
    again = run(acme, study, person_ids=[first["id"]])["dispatch"]["participant_ids"]
    assert not set(again) & set(ids), "the same person in two runs gives two participants"


def test_the_order_holds_if_an_alias_has_to_grow(
    store: Store, acme: ApiClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(UUID(f"{head}{str(uuid4())[4:]}") for head in ("abc1", "abc2", "def1", "abc3"))
    monkeypatch.setattr("understudy.store.dispatch.uuid4", lambda: next(drawn))
    everyone = [one["id"] for one in people_of(acme)]
    dispatched = run(acme, study, person_ids=everyone)["dispatch"]
    rows = [participant(store, UUID(id_)) for id_ in dispatched["participant_ids"]]
    assert [row["alias"] for row in rows] == dispatched["aliases"] == ["t-abc", "t-abc2", "t-abc3", "t-def"]
    assert [str(row["person_id"]) for row in rows] == everyone


@one_store
def test_a_run_succeeds_while_the_broker_is_unavailable_and_its_message_stays_unpublished(
    store: Store, acme: ApiClient, study: str, api_with: Callable[..., str]
) -> None:
    without_broker = api_with(broker_url="redis://127.0.0.1:1/0")
    answer = acme.post(f"{without_broker}/v1/studies/{study}/run", {"sample": 1})
    assert answer.status_code == 202
    id_ = UUID(answer.json()["dispatch"]["participant_ids"][0])

    def publish_failed() -> bool:
        row = participant(store, id_)
        return row["dispatch_no"] == 1 and row["dispatched_at"] is None

    wait_until(publish_failed)
    assert participant(store, id_)["status"] == Status.PENDING


# -- people, iteration, cap --------------------------------------------------------------------------------


@one_store
def test_a_person_named_twice_is_refused(store: Store, acme: ApiClient, study: str) -> None:
    one, other, *_ = people_of(acme)
    before = dump_tables(store)
    path = f"/v1/studies/{study}/run"
    same = (one["id"], one["alias"], one["id"].upper())
    errors = [refused(acme.post(path, {"person_ids": [one["id"], other["id"], ref]})) for ref in same]
    assert ["twice" in error for error in errors] == [True] * 3
    assert dump_tables(store) == before


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


def test_the_latest_iteration_runs_unless_another_is_named(store: Store, acme: ApiClient) -> None:
    study, (first, last) = make_study(store, acme.workspace_id, iterations=2)
    alias = acme.get(f"/v1/studies/{study}", view="full").json()["iterations"][0]["alias"]
    ran = [run(acme, study, sample=1, iteration_id=ref)["dispatch"] for ref in (None, str(first), alias, str(last))]
    assert [UUID(dispatched["iteration_id"]) for dispatched in ran] == [last, first, first, last]


@one_store
@pytest.mark.parametrize(
    ("of_iteration", "of_call", "expected"), [(None, None, 20), (7, None, 7), (7, 3, 3), (None, 1_000, 1_000)]
)
def test_max_interactions_are_the_calls_else_the_iterations_else_20(
    store: Store, acme: ApiClient, of_iteration: int | None, of_call: int | None, expected: int
) -> None:
    study, _ = make_study(store, acme.workspace_id, max_interactions=of_iteration)
    assert run(acme, study, sample=1, max_interactions=of_call)["dispatch"]["max_interactions"] == expected


def test_all_participants_are_made_or_none(
    store: Store, acme: ApiClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dispatch.record_bulk

    def record_all_but_the_last(connection: Any, ids: Sequence[UUID], *event: Any, via_outbox: bool) -> None:
        real(connection, ids[:-1], *event, via_outbox=via_outbox)
        raise Conflict("The last one did not get in.")

    before = dump_tables(store)
    monkeypatch.setattr(dispatch, "record_bulk", record_all_but_the_last)
    answer = acme.post(f"/v1/studies/{study}/run", {"sample": 4})
    assert (answer.status_code, answer.json()["error_kind"]) == (409, "conflict")
    assert dump_tables(store) == before


def test_the_settings_bound_of_participants_in_a_run_is_named(
    store: Store, acme: ApiClient, study: str, api_with: Callable[..., str]
) -> None:
    path = f"{api_with(max_participants_per_run=3)}/v1/studies/{study}/run"
    assert "at most 3" in refused(acme.post(path, {"sample": 4}))
    assert "at most 3" in refused(acme.post(path, {"person_ids": [one["id"] for one in people_of(acme)]}))
    assert counts(store)["participant"] == 0
    assert acme.post(path, {"sample": 3}).status_code == 202


# -- waiting -----------------------------------------------------------------------------------------------


@one_store
def test_a_timeout_out_of_bounds_is_refused_by_every_route_that_waits(store: Store, acme: ApiClient) -> None:
    study, (ended,) = make_run(store, acme)
    run_to_end(store, ended, 1)
    wait: dict[str, Any] = {"participant_ids": [str(ended)]}
    requests: dict[str, dict[str, Any]] = {
        f"/v1/studies/{study}/run": {"sample": 1},
        f"/v1/participants/{ended}/extend": {},
        EXTEND: {"participant_id": str(ended)},
        WAIT: wait,
    }
    before = dump_tables(store)
    errors = {
        (path, timeout): refused(acme.post(path, fields | {"timeout": timeout}))
        for path, fields in requests.items()
        for timeout in (0, -0.0, -1, 3600.1)
    }
    assert {request for request, error in errors.items() if "timeout" not in error} == set()
    assert dump_tables(store) == before
    assert [acme.post(WAIT, wait | {"timeout": timeout}).status_code for timeout in (3600, 1e-9)] == [200, 200]


def test_the_settings_bound_of_a_wait_is_named_and_is_the_default_timeout(
    acme: ApiClient, study: str, api_with: Callable[..., str]
) -> None:
    path = f"{api_with(max_wait_s=0.2)}/v1/studies/{study}/run"
    assert "at most 0.2" in refused(acme.post(path, {"sample": 1, "timeout": 0.3}))
    answer = acme.post(path, {"sample": 1})
    assert answer.json()["next_action"]["arguments"]["timeout"] == 0.2
    assert follow(acme, answer.json()).status_code == 202
    waited = acme.post(path, {"sample": 1, "wait": True})
    assert (waited.status_code, waited.json()["error_kind"]) == (202, "wait_timeout")


def test_a_wait_that_runs_out_reports_progress_and_its_next_action_gets_the_result(
    store: Store, acme: ApiClient, study: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a notification can end a wait in time.
    monkeypatch.setattr("understudy.service.waiters.POLL_INTERVAL_S", 20)
    first = acme.post(f"/v1/studies/{study}/run", {"sample": 3, "wait": True, "timeout": 0.1})
    body = first.json()
    assert first.status_code == 202
    ids = [UUID(id_) for id_ in body["dispatch"]["participant_ids"]]
    assert len(body["participants"]) == 3
    expected = {"ok": False, "error_kind": "wait_timeout", "error_code": "wait_timeout", "retryable": False}
    expected |= {"progress": {"done": 0, "total": 3}}
    assert {name: body[name] for name in expected} == expected
    assert set(body) - set(expected) == {"error", "suggestions", "dispatch", "participants", "next_action"}

    run_to_end(store, ids[0], 2)
    again = acme.post(WAIT, body["next_action"]["arguments"])
    assert (again.status_code, again.json()["progress"]) == (202, {"done": 1, "total": 3})
    # A client that allows only short calls stays within them.
    assert again.json()["next_action"]["arguments"].pop("timeout") == 0.1

    notifier = Notifier(settings.notifications_url)
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(follow, acme, again.json(), timeout=60)
        for id_, status in zip(ids[1:], ("failed", "cancelled"), strict=True):
            run_to_end(store, id_, 1, status)
            notifier.enqueue([id_])
        answer = answering.result()
    notifier.close()
    assert (answer.status_code, answer.json()["ok"]) == (200, True)
    states = [(one["status"], one["outcome"], one["error_kind"]) for one in answer.json()["participants"]]
    assert states == [("completed", "gave_up", None), ("failed", None, "environment_error"), ("cancelled", None, None)]
    assert "next_action" not in answer.json()
    assert counts(store)["participant"] == 3, "waiting dispatches nothing"


@one_store
def test_a_wait_polls_if_notifications_are_lost(
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


def test_the_next_action_for_over_100_of_several_studies_names_the_first_that_are_not_terminal(
    store: Store, acme: ApiClient
) -> None:
    made: list[str] = []
    studies: list[str] = []
    for _ in range(2):
        study, ids = make_run(store, acme, 60)
        made += map(str, ids)
        studies.append(str(study))

    def cancel_and_wait(**scope: str) -> dict[str, Any]:
        acme.post("/v1/simulations/cancel", scope)
        return acme.post(WAIT, {"participant_ids": made, "timeout": 0.1}).json()

    action = cancel_and_wait(participant_id=made[0])["next_action"]
    assert (action["tool"], action["rest"]) == ("simulation_wait", f"POST {WAIT}")
    assert action["arguments"]["participant_ids"] == made[1:101]
    assert "119 of 120" in action["why"]
    assert "first 100" in action["why"]
    assert len(action["cli"].split()) == 2 + 100 + 2

    # The remaining participants belong to one study: its summary covers all of them.
    body = cancel_and_wait(study_id=studies[0])
    assert body["next_action"]["tool"] == "study_get"
    summary = follow(acme, body).json()
    assert (summary["participant_count"], summary["pending_count"]) == (60, 60)


def test_waiting_takes_participants_of_any_kind_each_once_in_the_order_given(store: Store, acme: ApiClient) -> None:
    _, (one, other) = make_run(store, acme, 2)
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


def test_dispatch_and_cancel_are_not_delayed_by_waits(
    acme: ApiClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.service.waiters.READ_TIMEOUT_S", 120)
    waited_for = run(acme, study, sample=1)
    reads, release = Semaphore(0), Event()
    real = participants.terminal_states

    def hang(*asked: Any) -> Any:
        reads.release()
        release.wait(60)
        return real(*asked)

    monkeypatch.setattr(participants, "terminal_states", hang)
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(follow, acme, waited_for) for _ in range(60)]
        try:
            assert reads.acquire(timeout=60)
            other = run(acme, study, sample=1)["dispatch"]["participant_ids"][0]
            cancelled = acme.post("/v1/simulations/cancel", {"participant_id": other})
            assert cancelled.json()["summary"]["cancelled_count"] == 1
            assert acme.post(EXTEND, {"participant_id": other}).status_code == 202
            assert acme.get("/healthz").status_code == 200
            assert acme.get("/readyz").status_code == 200
            # One read after notifications and one of the polling fallback run at a time.
            assert not (reads.acquire(blocking=False) and reads.acquire(blocking=False))
        finally:
            release.set()
        one = waited_for["dispatch"]["participant_ids"][0]
        acme.post("/v1/simulations/cancel", {"participant_id": one})
        assert {answering.result().status_code for answering in waiting} == {200}


def test_a_wait_holds_no_connection(
    acme: ApiClient, study: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
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


@one_store
def test_a_client_that_disconnects_ends_its_own_wait_and_nothing_else(
    store: Store, acme: ApiClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = WaiterRegistry.wait_until_terminal

    async def wait_until_terminal(self: WaiterRegistry, *waited_for: Any) -> Any:
        seen.append("begun")
        try:
            return await real(self, *waited_for)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    monkeypatch.setattr(WaiterRegistry, "wait_until_terminal", wait_until_terminal)
    monkeypatch.setattr("understudy.service.waiters.POLL_INTERVAL_S", 0.05)
    body = run(acme, study, sample=1)
    one = UUID(body["dispatch"]["participant_ids"][0])
    run_steps(store, one, 1)
    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(follow, acme, body)
        wait_until(lambda: len(seen) == 1)
        with pytest.raises(httpx.ReadTimeout):
            acme.http.post(WAIT, json={"participant_ids": [str(one)]}, timeout=0.5)
        wait_until(lambda: seen == ["begun", "begun", "cancelled"])
        assert participant(store, one)["status"] == Status.RUNNING
        acme.post("/v1/simulations/cancel", {"participant_id": str(one)})
        assert staying.result().status_code == 200
    assert seen == ["begun", "begun", "cancelled"]
