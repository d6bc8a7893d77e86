"""What only RabbitMQ does. Run by `make test-rabbitmq`: each of these has a server of its own."""

from collections.abc import Iterator

import pytest

from shared.settings import Settings
from shared.store.engine import Store
from tests.callers import Caller
from tests.e2e.crowd import counts, done, rows, run
from tests.factories import make_study
from tests.rabbit import RabbitServer
from tests.servers import Fleet, wait_until


@pytest.fixture
def impatient(request: pytest.FixtureRequest) -> Iterator[RabbitServer]:
    """One that takes messages back after seconds, not after half an hour."""
    if request.config.getoption("broker") != "rabbitmq":
        pytest.skip("`make test-rabbitmq` runs it")
    with RabbitServer(consumer_timeout=3000, channel_tick_interval=1000) as server:
        yield server


@pytest.fixture
def settings(settings: Settings, impatient: RabbitServer) -> Settings:
    return settings.model_copy(update={"broker_url": impatient.url, "lease_ttl_s": 8})


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_run_longer_than_rabbitmq_waits_for_goes_on(store: Store, acme: Caller, fleet: Fleet) -> None:
    """Its message is taken back with all others of that worker, and comes again: it is void."""
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.5})
    (worker, *_) = fleet.start("run-1", "sweeper", concurrency=4)
    run(acme, study, 8, max_interactions=16)
    wait_until(lambda: done(store), 110)
    assert counts(store) == {"completed": 8}
    assert {(row.epoch, row.attempt) for row in rows(store)} == {(1, 0)}
    assert "PRECONDITION_FAILED" in worker.log.read_text()
    assert worker.popen.poll() is None
