"""Two API processes count the calls of a workspace together."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from sqlalchemy import update

from tests.event_client import open_stream
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.store.engine import Store
from understudy.store.schema import Tables


def test_two_api_processes_refuse_what_they_answer_too_much_together(store: Store, fleet: Fleet) -> None:
    first, second = fleet.start("api-1", "api-2")
    with ApiClient(store, first.url, "acme") as acme, ExitStack() as streams, ThreadPoolExecutor(6) as pool:
        study, (iteration,) = make_study(store, acme.workspace_id)
        (active,) = make_participants(store, acme.workspace_id, study, iteration)
        limits = {"event_streams": 3, "waits": 4, "requests_per_minute": 20}
        store.write(lambda connection: connection.execute(update(Tables.workspace).values(**limits)))

        for number in range(3):
            streams.enter_context(open_stream(acme, api=(first, second)[number % 2].url, study_id=study))
        refused = acme.http.get(f"{second.url}/v1/events", params={"study_id": str(study)})
        assert (refused.status_code, refused.json()["error_code"]) == (429, "rate_limited")

        def wait(number: int) -> int:
            body = {"participant_ids": [str(active)], "timeout": 60}
            return acme.http.post(f"{(first, second)[number % 2].url}/v1/simulations/wait", json=body).status_code

        calls = [pool.submit(wait, number) for number in range(6)]
        wait_until(lambda: sum(call.done() for call in calls) == 2)

        # 20 in all: 4 for the streams, 6 for the waits.
        answers = [acme.http.get(f"{(first, second)[number % 2].url}/v1/people").status_code for number in range(12)]
        assert answers == [200] * 10 + [429] * 2
        for server in (first, second):
            cancelled = acme.http.post(f"{server.url}/v1/simulations/cancel", json={"study_id": str(study)})
            assert cancelled.status_code == 200
        assert sorted(call.result() for call in calls) == [200] * 4 + [429] * 2
