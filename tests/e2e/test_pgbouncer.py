"""A fleet on PostgreSQL through PgBouncer in transaction mode, with few connections."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.pgbouncer import PgBouncer
from tests.servers import Fleet, PostgresServer, wait_until
from understudy.deploy.migrate import migrate
from understudy.domain.errors import ValidationError
from understudy.settings import Settings
from understudy.store.engine import LOCK_TIMEOUT_S, STATEMENT_TIMEOUT_S, Store

#: Without PgBouncer, each process opens up to ten.
CONNECTIONS = 4


@pytest.fixture
def store_url() -> Iterator[str]:
    with PostgresServer() as server, PgBouncer(server.url, CONNECTIONS) as pooler:
        url = pooler.url_of(server.url)
        migrate(Settings(database_url=url))
        yield url


def test_a_fleet_runs_cancels_extends_and_recovers_on_few_connections(
    store: Store, acme: ApiClient, fleet: Fleet
) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.1})
    long, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.1})
    victim, *_ = fleet.start("run-1", "control", "sweeper")
    cancelled = dispatch_participants(acme, long, 4, max_interactions=900)
    ids = dispatch_participants(acme, study, 12, max_interactions=20)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store)))
    answer = acme.post("/v1/simulations/cancel", {"study_id": str(long)}).json()
    assert answer["summary"]["cancelled_count"] == len(cancelled)
    victim.stop(signal.SIGKILL)
    fleet.start("run-2")
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 12, "cancelled": 4}
    assert 2 in {row.epoch for row in load_rows(store, study)}, "the killed worker ran some"
    body = {"participant_id": ids[0], "additional_steps": 3, "wait": True, "timeout": 60}
    extended = acme.post("/v1/simulations/extend", body).json()
    assert [row["interaction_count"] for row in extended["participants"]] == [23]
    wait_until(lambda: all(row.stopped_at for row in load_rows(store, long)))


def test_each_transaction_has_its_timeouts_on_any_connection(store: Store) -> None:
    def timeouts(connection: Any) -> list[Any]:
        names = ("statement_timeout", "lock_timeout")
        return [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]

    expected = [f"{STATEMENT_TIMEOUT_S}s", f"{LOCK_TIMEOUT_S}s"]
    with store.read() as one, store.read() as another:
        assert [timeouts(one), timeouts(another)] == [expected, expected]
    # No connection keeps them.
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as outside:
        assert outside.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0"


def test_a_repeated_statement_is_not_prepared_on_a_shared_connection(store: Store) -> None:
    other = Store(store.url.render_as_string(hide_password=False))

    def repeat(client: Store, number: int) -> list[int]:
        statement = f"SELECT {number} + %(x)s"
        return [client.write(lambda c: int(c.exec_driver_sql(statement, {"x": 7}).scalar_one())) for _ in range(20)]

    assert (repeat(store, 0), repeat(other, 1)) == ([7] * 20, [8] * 20)
    other.dispose()


def test_another_pooling_mode_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be `transaction`"):
        Store("postgresql://nobody@localhost/nothing?pooling=session")
