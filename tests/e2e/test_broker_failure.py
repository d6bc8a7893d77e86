"""A broker that is emptied, dies or stays unavailable costs time and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dedicated_brokers import DedicatedBroker, empty
from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture
def settings(settings: Settings, broker: DedicatedBroker) -> Settings:
    """The broker of this test, and leases long enough for a slow machine: no live worker counts as lost."""
    calm = {"heartbeat_interval_s": 1, "lease_ttl_s": 8}
    return settings.model_copy(update=calm | {"broker_url": broker.url})


def emptied(broker: DedicatedBroker) -> None:
    empty(broker.url)


def restarted_empty(broker: DedicatedBroker) -> None:
    broker.kill()
    broker.delete_data()
    broker.start()


@pytest.mark.parametrize(
    ("store_url", "lose"), [("sqlite", emptied), ("postgresql", restarted_empty)], indirect=["store_url"]
)
def test_lost_messages_interrupt_no_run_and_pending_participants_start_once(
    store: Store, acme: ApiClient, fleet: Fleet, broker: DedicatedBroker, lose: Callable[[DedicatedBroker], None]
) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    fleet.start("run-1", "sweeper", concurrency=6)
    dispatch_participants(acme, study, 12, max_interactions=12)
    wait_until(lambda: counts(store) == {"running": 6, "pending": 6})
    wait_until(lambda: all(row.dispatched_at for row in load_rows(store)))
    lose(broker)
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 12}
    assert {(row.epoch, row.attempt) for row in load_rows(store)} == {(1, 0)}


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_while_the_broker_is_unavailable_runs_continue_and_requests_are_answered(
    store: Store, acme: ApiClient, fleet: Fleet, broker: DedicatedBroker, tmp_path: Path
) -> None:
    log = tmp_path / "steps.log"
    short, _ = make_study(store, acme.workspace_id)
    walk, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    long, _ = make_study(store, acme.workspace_id, content={"delay_s": 600, "log": str(log)})
    fleet.start("run-1", "control", "sweeper")
    (source,) = dispatch_participants(acme, short, 1)
    wait_until(lambda: all_terminal(store))
    dispatch_participants(acme, long, 4)
    wait_until(lambda: log.exists() and log.read_text().count("act 0") == 4)
    dispatch_participants(acme, walk, 4, max_interactions=30)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store, walk)))
    broker.kill()
    envelope = acme.post("/v1/simulations/cancel", {"study_id": str(long)})
    assert envelope.status_code == 200
    assert envelope.json()["summary"] == {"total": 4, "cancelled_count": 4, "skipped_count": 0}
    ids = dispatch_participants(acme, short, 4)
    extended = acme.post("/v1/simulations/extend", {"participant_id": source, "additional_steps": 2})
    assert extended.status_code == 202, extended.text
    ids += extended.json()["dispatch"]["participant_ids"]
    # No message brings the abort: the heartbeat does.
    wait_until(lambda: log.read_text().count("aborted 0") == 4, 15)
    wait_until(lambda: all(row.stopped_at for row in load_rows(store, long)))
    wait_until(lambda: {row.status for row in load_rows(store, walk)} == {"completed"})
    assert counts(store) == {"completed": 5, "cancelled": 4, "pending": 5}
    broker.start()
    wait_until(lambda: all_terminal(store), 45)
    assert {str(row.id) for row in load_rows(store, short) if row.status == "completed"} == {source, *ids}
    assert {(row.epoch, row.attempt) for row in load_rows(store)} == {(1, 0)}
    assert counts(store) == {"completed": 10, "cancelled": 4}
