"""A broker that is emptied, dies or stays away: it costs time, and nothing else."""

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
    """Its broker; and leases long enough for a slow machine: nobody is to be taken for lost who is not."""
    calm = {"heartbeat_interval_s": 1, "lease_ttl_s": 8}
    return settings.model_copy(update=calm | {"broker_url": broker.url})


def emptied(broker: DedicatedBroker) -> None:
    empty(broker.url)


def restarted_empty(broker: DedicatedBroker) -> None:
    broker.kill()
    broker.delete_data()
    broker.start()


@pytest.mark.parametrize("lose", [emptied, restarted_empty])
def test_who_runs_does_not_notice_and_who_waits_starts_once(
    store: Store,
    acme: ApiClient,
    fleet: Fleet,
    broker: DedicatedBroker,
    lose: Callable[[DedicatedBroker], None],
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


def test_while_it_is_away_who_runs_goes_on(
    store: Store, acme: ApiClient, fleet: Fleet, broker: DedicatedBroker
) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    fleet.start("run-1", "sweeper")
    dispatch_participants(acme, study, 6, max_interactions=30)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store)))
    broker.kill()
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 6}
    assert {(row.epoch, row.attempt) for row in load_rows(store)} == {(1, 0)}
    broker.start()


def test_while_it_is_away_everything_is_answered_and_what_was_asked_for_starts_later(
    store: Store, acme: ApiClient, fleet: Fleet, broker: DedicatedBroker, tmp_path: Path
) -> None:
    log = tmp_path / "steps.log"
    short, _ = make_study(store, acme.workspace_id)
    long, _ = make_study(store, acme.workspace_id, content={"delay_s": 600, "log": str(log)})
    fleet.start("run-1", "control", "sweeper")
    (source,) = dispatch_participants(acme, short, 1)
    wait_until(lambda: all_terminal(store))
    dispatch_participants(acme, long, 4)
    wait_until(lambda: log.exists() and log.read_text().count("act 0") == 4)
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
    assert counts(store) == {"completed": 1, "cancelled": 4, "pending": 5}
    broker.start()
    wait_until(lambda: all_terminal(store), 45)
    assert {str(row.id) for row in load_rows(store) if row.status == "completed"} == {source, *ids}
    assert {row.epoch for row in load_rows(store)} == {1}
    assert counts(store) == {"completed": 6, "cancelled": 4}
