"""The API as a process: told to go, and two of them on one store."""

import asyncio
import itertools
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from mcp import Client
from sqlalchemy import func, select

from tests.contract.manual_worker import run_to_end
from tests.event_client import open_stream
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.mcp_client import PROTOCOL_MODES, run_with_client
from tests.servers import Process, free_port, wait_until
from understudy.deploy.ports import is_healthy
from understudy.settings import Settings
from understudy.store import lifecycle
from understudy.store.engine import Store
from understudy.store.schema import Tables


class ApiProcess(NamedTuple):
    url: str
    process: Process


@pytest.fixture
def api_process(settings: Settings) -> Iterator[Callable[[str], ApiProcess]]:
    """Starts an API process; ready when this returns."""
    with ExitStack() as started:

        def start(name: str) -> ApiProcess:
            port = free_port()
            process = Process(settings, "api", "--port", str(port), name=name)
            started.callback(process.stop)
            wait_until(lambda: is_healthy("127.0.0.1", port, "/readyz"))
            return ApiProcess(f"http://127.0.0.1:{port}", process)

        yield start


def participant_count(store: Store) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(Tables.participant)) or 0


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_told_to_go_it_tells_those_who_wait_how_to_wait_on(
    store: Store, api_process: Callable[[str], ApiProcess]
) -> None:
    here = api_process("api-1")
    with ApiClient(store, here.url, "acme") as acme, ThreadPoolExecutor(3) as pool:
        study, _ = make_study(store, acme.workspace_id)
        path, body = f"/v1/studies/{study}/run", {"sample": 1, "wait": True}
        waiting = [pool.submit(acme.post, path, body) for _ in range(3)]
        wait_until(lambda: participant_count(store) == 3)
        assert here.process.stop() in {0, -signal.SIGTERM}
        for answer in (answering.result() for answering in waiting):
            assert (answer.status_code, answer.json()["error_code"]) == (202, "wait_timeout")
            assert answer.json()["next_action"]["tool"] == "simulation_wait"
            assert answer.json()["retryable"] is False


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("era", PROTOCOL_MODES)
def test_told_to_go_it_tells_models_that_wait_how_to_wait_on(
    store: Store, api_process: Callable[[str], ApiProcess], era: str
) -> None:
    here = api_process("api-1")
    with ApiClient(store, here.url, "acme") as acme:
        study, _ = make_study(store, acme.workspace_id)

        async def scene(client: Client) -> list[Any]:
            # Else it would ask for it when it has the answer, and nobody is there any more.
            await client.list_tools()
            run = {"study_id": str(study), "sample": 1, "wait": True}
            calls = [asyncio.create_task(client.call_tool("study_run", run)) for _ in range(3)]
            await asyncio.to_thread(wait_until, lambda: participant_count(store) == 3)
            # In the era of sessions the client has a stream open that nothing ends by itself.
            assert await asyncio.to_thread(here.process.stop) in {0, -signal.SIGTERM}
            return [(await one).structured_content for one in calls]

        for body in run_with_client(acme, scene, era):
            assert (body["error_code"], body["next_action"]["tool"]) == ("wait_timeout", "simulation_wait")
    log = here.process.log.read_text()
    assert "timeout graceful shutdown exceeded" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_readers_of_events_go_on_at_another_process_when_theirs_goes_or_dies(
    store: Store, api_process: Callable[[str], ApiProcess]
) -> None:
    first, second, third = (api_process(f"api-{number}") for number in (1, 2, 3))
    with ApiClient(store, first.url, "acme") as acme:
        study, (iteration,) = make_study(store, acme.workspace_id)
        ids = make_participants(store, acme.workspace_id, study, iteration, 3)
        with open_stream(acme, study_id=study) as events:
            heard = list(itertools.islice(events, 3))
            run_to_end(store, ids[0], 1)
            heard += list(itertools.islice(events, 3))
            assert first.process.stop() in {0, -signal.SIGTERM}
            # In order: the answer is whole, and there is nothing more.
            assert list(events) == []
        run_to_end(store, ids[1], 1)
        with open_stream(acme, api=second.url, study_id=study, last=heard[-1].id) as events:
            heard += list(itertools.islice(events, 3))
            second.process.popen.kill()
            run_to_end(store, ids[2], 1)
            with pytest.raises(httpx.TransportError):
                next(events)
        with open_stream(acme, api=third.url, study_id=study, last=heard[-1].id) as events:
            heard += list(itertools.islice(events, 3))
        assert [told.id for told in heard] == list(range(1, 13))


@pytest.mark.parametrize("what", ["run", "extend"])
def test_fifty_repeats_over_two_processes_are_done_once(
    store: Store, api_process: Callable[[str], ApiProcess], what: str
) -> None:
    urls = [api_process(name).url for name in ("api-1", "api-2")]
    with ApiClient(store, urls[0], "acme") as acme:
        study, (iteration,) = make_study(store, acme.workspace_id)
        path, body, made = f"/v1/studies/{study}/run", {"sample": 2}, 2
        if what == "extend":
            (source,) = make_participants(store, acme.workspace_id, study, iteration)
            store.write(lambda connection: lifecycle.cancel(connection, acme.workspace_id, [source]))
            path, body, made = "/v1/simulations/extend", {"participant_id": str(source)}, 1
        before = participant_count(store)

        def post(number: int) -> httpx.Response:
            url, headers = urls[number % 2], {"Idempotency-Key": "k"}
            return acme.http.post(f"{url}{path}", json=body, headers=headers)

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(post, range(50)))
        assert {answer.status_code for answer in answers} == {202}
        dispatched: set[tuple[UUID, ...]] = {ids(answer.json()) for answer in answers}
        assert len(dispatched) == 1
        assert participant_count(store) == before + made


def ids(body: dict[str, Any]) -> tuple[UUID, ...]:
    return tuple(UUID(id_) for id_ in body["dispatch"]["participant_ids"])
