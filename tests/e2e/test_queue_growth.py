"""With thousands of pending participants, the broker holds hardly more messages than participants."""

import time

import pytest

from tests.dedicated_brokers import depth, empty, headers
from tests.e2e.participants import counts, load_rows
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.domain.fair_shares import MIN_WINDOW
from understudy.domain.queues import QUEUE_PRIORITY, Queue
from understudy.settings import Settings
from understudy.store.engine import Store

#: More than the window holds; and the documented bound, which takes minutes.
SIZES = [1_500, pytest.param(20_000, marks=pytest.mark.chaos)]
RUN_QUEUES = (*QUEUE_PRIORITY, Queue.QUARANTINE)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases long enough for a busy worker: no live worker counts as lost."""
    return settings.model_copy(update={"heartbeat_interval_s": 1.5, "lease_ttl_s": 6})


class Queues:
    """The messages in the broker."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.broker_url

    def run_messages(self) -> int:
        return sum(depth(self._url, queue) for queue in RUN_QUEUES)

    def stop_ids(self) -> list[str]:
        return [one["id"] for one in headers(self._url, Queue.CONTROL)]

    def empty(self) -> None:
        empty(self._url)


@pytest.fixture
def queues(settings: Settings) -> Queues:
    return Queues(settings)


def waiting(store: Store) -> int:
    """Returns how many pending participants have a published message."""
    return sum(row.status == "pending" and row.dispatched_at is not None for row in load_rows(store))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("many", SIZES)
def test_sweepers_do_not_publish_a_message_repeatedly(
    store: Store, acme: ApiClient, fleet: Fleet, settings: Settings, queues: Queues, many: int
) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    make_participants(store, acme.workspace_id, study, iteration, many, max_interactions=1)
    fleet.start("sweeper-1", "sweeper-2")
    published = min(many, MIN_WINDOW)
    wait_until(lambda: queues.run_messages() >= published, 180)
    sweep_for_a_while(settings)
    assert waiting(store) == published
    assert published <= queues.run_messages() <= 1.2 * published
    queues.empty()
    wait_until(queues.run_messages, what="lost messages are republished")
    sweep_for_a_while(settings)
    assert queues.run_messages() <= 1.2 * waiting(store)
    (worker,) = fleet.start("run-1", concurrency=100)
    wait_until(lambda: counts(store).get("completed", 0) > many / 5, 180)
    assert worker.stop() == 0
    sweep_for_a_while(settings)
    assert queues.run_messages() <= 1.2 * waiting(store)
    envelope = acme.http.post("/v1/simulations/cancel", json={"study_id": str(study)}, timeout=120).json()
    cancelled = {item["participant_id"] for item in envelope["cancelled"]}
    assert len(cancelled) == envelope["summary"]["cancelled_count"] == counts(store)["cancelled"]
    wait_until(queues.stop_ids)
    sweep_for_a_while(settings)
    stops = queues.stop_ids()
    assert len(stops) == len(set(stops)) <= len(cancelled)
    assert {id_.split(".")[0] for id_ in stops} <= cancelled


def sweep_for_a_while(settings: Settings) -> None:
    """Leaves the sweepers time to republish."""
    time.sleep(3 * settings.republish_after_s)
