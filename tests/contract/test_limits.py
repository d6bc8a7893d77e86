"""Limits that refuse: over every interface, over two API processes, and never a cancel. Contract section 7."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from tests.contract.interfaces import INTERFACES
from tests.contract.manual_worker import counts, run_to_end
from tests.event_client import open_stream
from tests.factories import make_ask, make_participants, make_study
from tests.http_client import ApiClient
from tests.parameters import one_store
from tests.servers import wait_until
from understudy.client import RateLimited, Understudy
from understudy.service import call_limits
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

Servers = Callable[..., str]


def set_limits(store: Store, caller: ApiClient, **values: int | None) -> None:
    mine = Tables.workspace.c.id == caller.workspace_id
    store.write(lambda connection: connection.execute(update(Tables.workspace).where(mine).values(**values)))


@pytest.fixture
def study(store: Store, acme: ApiClient) -> UUID:
    return make_study(store, acme.workspace_id)[0]


@contextmanager
def waiting(caller: ApiClient, api: str, ids: list[UUID], count: int) -> Iterator[None]:
    """Holds `count` calls that wait open."""
    body = {"participant_ids": [str(id_) for id_ in ids], "timeout": 60}

    def wait() -> int:
        return caller.http.post(f"{api}/v1/simulations/wait", json=body, timeout=90).status_code

    with ThreadPoolExecutor(count) as pool:
        calls = [pool.submit(wait) for _ in range(count)]
        wait_until(
            lambda: re.search(rf"^understudy_waiters {count}(\.0)?$", httpx.get(f"{api}/metrics").text, re.MULTILINE)
        )
        yield
        assert caller.http.post(f"{api}/v1/simulations/cancel", json={"participant_id": str(ids[0])}).is_success
        assert [call.result() for call in calls] == [200] * count


# -- requests ----------------------------------------------------------------------------------------------


def exhaust(store: Store, caller: ApiClient) -> None:
    """Uses up the requests of this workspace for the next minutes."""
    set_limits(store, caller, requests_per_minute=1)
    # Earlier requests count in proportion.
    wait_until(lambda: caller.get("/v1/studies").status_code == 200)
    assert caller.get("/v1/studies").status_code == 429


def test_a_request_too_many_says_when_to_come_back(store: Store, acme: ApiClient, rival: ApiClient) -> None:
    exhaust(store, acme)
    answer = acme.get("/v1/people")
    assert (answer.status_code, answer.json()["error_code"], answer.json()["retryable"]) == (429, "rate_limited", True)
    assert 50 <= int(answer.headers["retry-after"]) <= 60
    assert f"{answer.headers['retry-after']} s" in answer.json()["error"]
    assert rival.get("/v1/people").status_code == 200
    set_limits(store, acme, requests_per_minute=None)
    assert acme.get("/v1/people").status_code == 200


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_request_too_many_is_rate_limited_over_every_interface(
    store: Store, acme: ApiClient, study: UUID, interface: str
) -> None:
    participant = make_participants(store, acme.workspace_id, study, iteration_of(store, study))[0]
    with INTERFACES[interface](acme) as call:
        if interface.startswith("mcp"):
            # Its client asks for the tools once.
            assert call("person_get", {})
        exhaust(store, acme)
        before = counts(store)
        refused = call("person_get", {})
        assert refused is not None
        assert (refused.code, "Try again in" in refused.message) == ("rate_limited", True)
        started = call("simulation_extend", {"participant_id": str(participant)})
        assert started is not None
        assert started.code == "rate_limited"
        assert counts(store) == before
        cancelled = call("simulation_cancel", {"participant_id": str(participant)})
        assert cancelled is not None
        assert cancelled.envelope["summary"]["cancelled_count"] == 1


def test_no_cancel_is_refused(store: Store, acme: ApiClient, study: UUID) -> None:
    exhaust(store, acme)
    for _ in range(3):
        assert acme.post("/v1/simulations/cancel", {"study_id": str(study)}).status_code == 200
        assert acme.post("/v1/participants/t-000/cancel").status_code == 404


def test_requests_are_counted_over_two_api_processes(
    store: Store, acme: ApiClient, rival: ApiClient, api_with: Servers
) -> None:
    apis = [api_with(), api_with()]
    # Both servers are in this process: two threads must not build the same route at once.
    assert {rival.http.get(f"{api}/v1/people").status_code for api in apis} == {200}
    set_limits(store, acme, requests_per_minute=6)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: acme.http.get(f"{apis[n % 2]}/v1/people").status_code, range(16)))
    assert sorted(answers) == [200] * 6 + [429] * 10


def test_the_default_of_the_installation_applies(acme: ApiClient, api_with: Servers) -> None:
    api = api_with(workspace_requests_per_minute=2)
    assert [acme.http.get(f"{api}/v1/people").status_code for _ in range(3)] == [200, 200, 429]


def test_the_client_comes_back_after_the_time_that_the_server_asks_for(store: Store, acme: ApiClient) -> None:
    set_limits(store, acme, requests_per_minute=60)
    with Understudy(acme.api, acme.secret, retries=1) as patient, Understudy(acme.api, acme.secret) as other:
        with pytest.raises(RateLimited) as raised:
            deque(other.study_list() for _ in range(70))
        assert raised.value.retry_after_s == 1
        assert patient.study_list().items == []


# -- waits and streams -------------------------------------------------------------------------------------


def iteration_of(store: Store, study: UUID) -> UUID:
    with store.read() as connection:
        found = Tables.iteration.c.study_id == study
        id_: UUID = connection.execute(Tables.iteration.select().where(found)).one().id
    return id_


STARTS: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
    "study_run": lambda ids: {"study_id": ids["study"], "sample": 1},
    "simulation_extend": lambda ids: {"participant_id": ids["source"]},
    "ask_run": lambda _: {"question": "Which?", "variants": ["One", "Two"], "sample": 1},
    "ask_round": lambda ids: {"ask_id": ids["ask"]},
    "study_create": lambda _: {
        "name": "New",
        "assignment": {"task": "Read"},
        "iteration": {"content": {"environment": "web", "url": "http://127.0.0.1:1/"}},
        "run": {"sample": 1, "wait": True},
    },
    "simulation_wait": lambda ids: {"participant_ids": [ids["active"]]},
}


@pytest.mark.parametrize("operation", STARTS)
@one_store
def test_a_wait_too_many_is_refused_before_anything_is_dispatched(
    store: Store, acme: ApiClient, api: str, study: UUID, operation: str
) -> None:
    active, source = make_participants(store, acme.workspace_id, study, iteration_of(store, study), 2)
    run_to_end(store, source)
    ask, _ = make_ask(store, acme.workspace_id)
    ids = {"study": str(study), "source": str(source), "active": str(active), "ask": str(ask)}
    arguments = STARTS[operation](ids)
    if operation not in {"study_create", "simulation_wait"}:
        arguments |= {"wait": True}
    set_limits(store, acme, waits=1)
    for interface in ("rest", "client", "mcp-legacy"):
        with waiting(acme, api, [active], 1), INTERFACES[interface](acme) as call:
            before = counts(store)
            refused = call(operation, arguments)
            assert refused is not None
            assert (refused.code, "more than 1 open waits" in refused.message) == ("rate_limited", True)
            assert counts(store) == before
        active = make_participants(store, acme.workspace_id, study, iteration_of(store, study), 1)[0]


def test_waits_are_counted_over_two_api_processes(
    store: Store, acme: ApiClient, study: UUID, api_with: Servers
) -> None:
    first, second = api_with(), api_with()
    set_limits(store, acme, waits=3)
    active = make_participants(store, acme.workspace_id, study, iteration_of(store, study), 2)
    body = {"participant_ids": [str(active[1])], "timeout": 0.1}
    with waiting(acme, first, active[:1], 2), waiting(acme, second, active[1:], 1):
        for api in (first, second):
            answer = acme.http.post(f"{api}/v1/simulations/wait", json=body)
            assert (answer.status_code, answer.json()["ok"]) == (429, False)
            assert int(answer.headers["retry-after"]) >= 1
    # Places come back, wherever they were held.
    free = {"participant_ids": [str(active[0])]}
    wait_until(lambda: acme.http.post(f"{second}/v1/simulations/wait", json=free).status_code == 200)


def test_streams_are_counted_over_two_api_processes(
    store: Store, acme: ApiClient, rival: ApiClient, study: UUID, api_with: Servers
) -> None:
    apis = [api_with(), api_with()]
    set_limits(store, acme, event_streams=3)
    theirs, _ = make_study(store, rival.workspace_id)
    with ExitStack() as streams:
        for number in range(3):
            streams.enter_context(open_stream(acme, api=apis[number % 2], study_id=study))
        for api in apis:
            answer = acme.http.get(f"{api}/v1/events", params={"study_id": str(study), "follow": "false"})
            assert (answer.status_code, answer.json()["error_code"]) == (429, "rate_limited")
            with open_stream(rival, api=api, study_id=theirs):
                pass
    for api in apis:
        wait_until(lambda api=api: acme.http.get(f"{api}/v1/events?study_id={study}&follow=false").is_success)


def test_one_token_leaves_streams_of_a_process_to_others(
    store: Store, acme: ApiClient, rival: ApiClient, study: UUID, api_with: Servers
) -> None:
    api = api_with(max_event_streams=4, workspace_event_streams=2)
    theirs, _ = make_study(store, rival.workspace_id)
    with open_stream(acme, api=api, study_id=study), open_stream(acme, api=api, study_id=study):
        assert acme.http.get(f"{api}/v1/events", params={"study_id": str(study)}).status_code == 429
        with open_stream(rival, api=api, study_id=theirs):
            pass


def test_without_an_answer_of_the_store_each_process_counts_by_itself(
    store: Store, acme: ApiClient, api_with: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_limits.CallLimiter, "_ask", no_answer)
    set_limits(store, acme, requests_per_minute=3)
    for api in (api_with(), api_with()):
        answers = [acme.http.get(f"{api}/v1/people").status_code for _ in range(5)]
        assert answers == [200] * 3 + [429] * 2


async def no_answer(*_: Any) -> None:
    """Stands for a store that does not answer in time."""


# -- quotas ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_start_over_the_quota_is_refused_over_every_interface(
    store: Store, acme: ApiClient, study: UUID, interface: str
) -> None:
    source = make_participants(store, acme.workspace_id, study, iteration_of(store, study))[0]
    run_to_end(store, source)
    set_limits(store, acme, participants_per_day=2)
    with INTERFACES[interface](acme) as call:
        assert call("simulation_extend", {"participant_id": str(source)})
        assert acme.post(f"/v1/studies/{study}/run", {"sample": 1}).status_code == 202
        before = counts(store)
        refused = call("simulation_extend", {"participant_id": str(source)})
        assert refused is not None
        assert refused.code == "usage_limit_reached"
        assert "participants_per_day of this workspace is 2; 2 are used and 1 more" in refused.message
        assert "midnight (UTC)" in refused.message
        assert counts(store) == before


def test_a_run_over_the_quota_creates_nothing_and_is_not_retryable(store: Store, acme: ApiClient, study: UUID) -> None:
    set_limits(store, acme, participants_per_day=3)
    run = {"iteration": {"content": {"environment": "web", "url": "http://127.0.0.1:1/"}}, "run": {"sample": 4}}
    bodies = {
        f"/v1/studies/{study}/run": {"sample": 4},
        "/v1/asks": {"question": "Which?", "variants": ["One", "Two"], "sample": 4},
        "/v1/studies": {"name": "New", "assignment": {"task": "Read"}} | run,
    }
    before = counts(store)
    for path, body in bodies.items():
        answer = acme.post(path, body)
        assert (answer.status_code, answer.json()["error_code"], answer.json()["retryable"]) == (
            403,
            "usage_limit_reached",
            False,
        )
    assert counts(store) == before
    assert acme.post(f"/v1/studies/{study}/run", {"sample": 3}).status_code == 202


def test_a_repeated_start_is_counted_once(store: Store, acme: ApiClient, study: UUID) -> None:
    set_limits(store, acme, participants_per_day=2)
    run = [
        acme.http.post(f"/v1/studies/{study}/run", json={"sample": 2}, headers={"Idempotency-Key": "k"}).json()
        for _ in range(3)
    ]
    assert len({str(one["dispatch"]["participant_ids"]) for one in run}) == 1
    assert acme.post(f"/v1/studies/{study}/run", {"sample": 1}).status_code == 403


def test_used_up_model_tokens_stop_only_minds_with_a_model(store: Store, acme: ApiClient) -> None:
    other, (iteration,) = make_study(store, acme.workspace_id)
    spender = make_participants(store, acme.workspace_id, other, iteration)[0]
    run_to_end(store, spender)
    row = {"participant_id": spender, "ordinal": 0, "workspace_id": acme.workspace_id, "study_id": other}
    figures = {"model": "m", "calls": 1, "input_tokens": 60, "output_tokens": 40, "seconds": 1.0}
    store.write(lambda connection: connection.execute(Tables.usage.insert().values(**row, **figures, at=store_clock())))
    set_limits(store, acme, model_tokens_per_day=100)
    costly, _ = make_study(store, acme.workspace_id, mind="llm:cheap")
    free, _ = make_study(store, acme.workspace_id, mind="heuristic")
    answer = acme.post(f"/v1/studies/{costly}/run", {"sample": 1})
    assert (answer.status_code, answer.json()["error_code"]) == (403, "usage_limit_reached")
    assert "model_tokens_per_day of this workspace is 100; 100 are used" in answer.json()["error"]
    assert acme.post(f"/v1/studies/{free}/run", {"sample": 1}).status_code == 202
    set_limits(store, acme, model_tokens_per_day=101)
    assert acme.post(f"/v1/studies/{costly}/run", {"sample": 1}).status_code == 202


def test_a_start_over_the_stored_bytes_is_refused(store: Store, acme: ApiClient, study: UUID) -> None:
    done = make_participants(store, acme.workspace_id, study, iteration_of(store, study))[0]
    run_to_end(store, done, steps=5)
    # Its events have positions.
    acme.get("/v1/events", study_id=study, follow="false")
    set_limits(store, acme, stored_bytes=500)
    answer = acme.post("/v1/simulations/extend", {"participant_id": str(done)})
    assert (answer.status_code, answer.json()["error_code"]) == (403, "usage_limit_reached")
    assert "stored_bytes of this workspace is 500" in answer.json()["error"]
    set_limits(store, acme, stored_bytes=1_000_000)
    assert acme.post("/v1/simulations/extend", {"participant_id": str(done)}).status_code == 202


# -- time limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["step_timeout", "run_timeout"])
def test_a_time_limit_above_the_operators_maximum_is_refused(acme: ApiClient, api_with: Servers, name: str) -> None:
    api = api_with(**{f"max_{name}_s": 45})
    iteration = {"content": {"environment": "web", "url": "http://127.0.0.1:1/"}}
    new = {"name": "New", "assignment": {"task": "Read"}}
    ask = {"question": "Which?", "variants": ["One", "Two"], "sample": 1}
    study = acme.http.post(f"{api}/v1/studies", json=new | {"iteration": iteration}).json()
    # The default is bounded, too.
    assert study["iterations"][0][name] == 45
    for path, body in {
        "/v1/studies": new | {"iteration": iteration | {name: 46}},
        f"/v1/studies/{study['id']}/iterations": iteration | {name: 46},
        "/v1/asks": ask | {name: 46},
    }.items():
        answer = acme.http.post(api + path, json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (422, "validation_error")
        assert answer.json()["error"] == f"{name} must be at most 45 seconds; 46 was given."
    assert acme.http.post(f"{api}/v1/asks", json=ask | {name: 45}).status_code == 202
