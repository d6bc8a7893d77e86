"""API servers as processes: an ordered end, and several on one store."""

import asyncio
import itertools
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from mcp import Client
from sqlalchemy import func, select

from tests.contract.manual_worker import run_to_end
from tests.event_client import open_stream
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.mcp_client import PROTOCOL_MODES, run_with_client
from tests.servers import Fleet, wait_until
from understudy.store import lifecycle
from understudy.store.engine import Store
from understudy.store.schema import Tables

ENDED = {0, -signal.SIGTERM}


def participant_count(store: Store) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(Tables.participant)) or 0


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_an_api_that_ends_answers_waiting_clients_with_how_to_continue(store: Store, fleet: Fleet) -> None:
    (server,) = fleet.start("api")
    with ApiClient(store, server.url, "acme") as acme, ThreadPoolExecutor(5) as pool:
        study, _ = make_study(store, acme.workspace_id)
        options = {"sample": 1, "wait": True}

        async def run_three(client: Client) -> list[Any]:
            # Otherwise the client asks for the tools when it has the answer, and no server is left.
            await client.list_tools()
            calls = (client.call_tool("study_run", {"study_id": str(study)} | options) for _ in range(3))
            return [result.structured_content for result in await asyncio.gather(*calls)]

        rest = [pool.submit(acme.post, f"/v1/studies/{study}/run", options) for _ in range(3)]
        # A client with a session keeps a stream open that only the server ends.
        mcp = [pool.submit(run_with_client, acme, run_three, mode) for mode in PROTOCOL_MODES]
        wait_until(lambda: participant_count(store) == 9)
        assert server.stop() in ENDED
        answers = [call.result() for call in rest]
        bodies = [answer.json() for answer in answers] + [body for call in mcp for body in call.result()]
    assert [answer.status_code for answer in answers] == [202] * 3
    told = [(body["error_code"], body["retryable"], body["next_action"]["tool"]) for body in bodies]
    assert told == [("wait_timeout", False, "simulation_wait")] * 9
    log = server.log.read_text()
    assert "timeout graceful shutdown exceeded" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_event_readers_continue_at_another_api_when_theirs_ends_or_is_killed(store: Store, fleet: Fleet) -> None:
    first, second, third = fleet.start("api-1", "api-2", "api-3")
    with ApiClient(store, first.url, "acme") as acme:
        study, (iteration,) = make_study(store, acme.workspace_id)
        ids = make_participants(store, acme.workspace_id, study, iteration, 3)
        with open_stream(acme, study_id=study) as events:
            received = list(itertools.islice(events, 3))
            run_to_end(store, ids[0], 1)
            received += list(itertools.islice(events, 3))
            assert first.stop() in ENDED
            # The answer is complete, and nothing follows.
            assert list(events) == []
        run_to_end(store, ids[1], 1)
        with open_stream(acme, api=second.url, study_id=study, last=received[-1].id) as events:
            received += list(itertools.islice(events, 3))
            second.popen.kill()
            run_to_end(store, ids[2], 1)
            with pytest.raises(httpx.TransportError):
                next(events)
        with open_stream(acme, api=third.url, study_id=study, last=received[-1].id) as events:
            received += list(itertools.islice(events, 3))
        assert [event.id for event in received] == list(range(1, 13))


def test_fifty_repeats_at_two_apis_dispatch_once(store: Store, fleet: Fleet) -> None:
    urls = [server.url for server in fleet.start("api-1", "api-2")]
    with ApiClient(store, urls[0], "acme") as acme:
        study, (iteration,) = make_study(store, acme.workspace_id)
        (source,) = make_participants(store, acme.workspace_id, study, iteration)
        store.write(lambda connection: lifecycle.cancel(connection, acme.workspace_id, [source]))

        def dispatch(path: str, body: dict[str, Any]) -> int:
            """Sends one request fifty times; returns how many participants it created."""

            def post(number: int) -> httpx.Response:
                return acme.http.post(f"{urls[number % 2]}{path}", json=body, headers={"Idempotency-Key": path})

            before = participant_count(store)
            with ThreadPoolExecutor(50) as pool:
                answers = list(pool.map(post, range(50)))
            assert {answer.status_code for answer in answers} == {202}
            assert len({tuple(answer.json()["dispatch"]["participant_ids"]) for answer in answers}) == 1
            return participant_count(store) - before

        assert dispatch(f"/v1/studies/{study}/run", {"sample": 2}) == 2
        assert dispatch("/v1/simulations/extend", {"participant_id": str(source)}) == 1
