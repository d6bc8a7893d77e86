"""No query that runs all the time reads all of a table that grows, on either store.

`python -m tests.plans` shows the same with a million interactions, and what each takes.
"""

from collections.abc import Callable, Iterator
from typing import cast
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from tests.factories import StudyStore
from tests.plans.lineages import add_lineage
from tests.plans.queries import HOT, OF_WEBHOOKS
from tests.plans.query_plan import PARTIAL, explain
from tests.plans.seed_data import SeedData, fill
from tests.plans.seed_deliveries import fill_deliveries
from understudy.domain.queues import Queue
from understudy.store import dispatch, lifecycle, lineage, participants, window
from understudy.store.engine import Store, store_time
from understudy.store.schema import Tables

INTERACTIONS = 20_000
DELIVERIES = 100_000
#: Of all tables, that one statement looks at.
MOST_ROWS = 2_000


@pytest.fixture
def full(store_url: str) -> Iterator[tuple[Store, SeedData]]:
    # Not the store that invariants are checked of: its rows are made up.
    store = Store(store_url)
    yield store, fill(store, INTERACTIONS)
    store.dispose()


def test_no_hot_query_reads_a_whole_table(full: tuple[Store, SeedData]) -> None:
    store, it = full
    for name, query in HOT.items():
        for one in explain(store, query, it, small=True):
            assert not one.scans, f"{name}: {one.scans}\n{one.sql}\n{one.plan}"
            assert one.rows <= MOST_ROWS, f"{name}: {one.rows} rows\n{one.sql}\n{one.plan}"
    # And one that cannot do without its index is noticed.
    with store.engine.execution_options(write=True).begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_participant_running")
    looks = explain(store, HOT["heartbeat"], it, small=True)
    assert any(one.scans or one.rows > MOST_ROWS for one in looks)


def test_no_query_about_webhooks_reads_all_deliveries(full: tuple[Store, SeedData]) -> None:
    store, it = full
    seeded = fill_deliveries(store, it, DELIVERIES)
    for name, query in OF_WEBHOOKS.items():
        for one in explain(store, query, seeded, small=True):
            assert not one.scans, f"{name}: {one.scans}\n{one.sql}\n{one.plan}"
            assert one.rows <= MOST_ROWS, f"{name}: {one.rows} rows\n{one.sql}\n{one.plan}"
    # And one that cannot do without its index is noticed.
    with store.engine.execution_options(write=True).begin() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        index, name = ("ix_delivery_due", "claim") if is_sqlite else ("ix_delivery_ended", "remove old ones")
        connection.exec_driver_sql(f"DROP INDEX {index}")
    looks = explain(store, OF_WEBHOOKS[name], seeded, small=True)
    assert any(one.scans or "(webhook_id=?)" in one.plan for one in looks)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("participants_count", "max_rows"), [(1, 25), (50, 60)])
def test_part_of_a_long_lineage_is_read_without_the_rest(
    store_url: str, participants_count: int, max_rows: int
) -> None:
    store = Store(store_url)
    study = StudyStore(store)
    leaf = add_lineage(study, 2_000, participants_count)
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    parts: tuple[Callable[[Connection], object], ...] = (
        lambda c: lineage.latest_interactions(c, leaf, 20),
        lambda c: list(lineage.interactions(c, leaf, after=1_979, limit=20)),
    )
    for read in parts:
        looks = explain(store, lambda c, _, read=read: read(c), cast("SeedData", None), small=True)
        of_interactions = [one for one in looks if "FROM interaction" in one.sql]
        assert [one.plan for one in of_interactions if one.rows > max_rows] == []
    store.dispose()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_what_is_asked_of_some_by_their_ids_reads_no_others(full: tuple[Store, SeedData]) -> None:
    """However many are in the same state: just after a large run was asked for, all its messages are owed.

    PostgreSQL knows how many they are; SQLite expects few, and would rather look among those.
    """
    store, it = full
    by_id: tuple[Callable[[Connection, list[UUID]], object], ...] = (
        lambda c, ids: dispatch.reserve_again(c, ids, store_time(c)),
        lambda c, ids: window._reserve(c, [(id_, Queue.RUNS) for id_ in ids]),
        lambda c, ids: lifecycle.claim_all(c, ids, it.worker_id),
        lambda c, ids: lifecycle.cancel(c, it.workspace_id, ids),
        lambda c, ids: participants.non_terminal_ids(c, it.workspace_id, ids),
    )
    ids = it.by_status["completed"]
    owed = update(Tables.participant).values(status="pending", dispatched_at=None)
    store.write(lambda connection: connection.execute(owed))
    for count in (20, 200, 1_000):
        for ask in by_id:
            for one in explain(store, lambda c, _, ask=ask, count=count: ask(c, ids[:count]), it):
                assert not [index for index in PARTIAL if index in one.plan], f"{one.sql}\n{one.plan}"


def test_postgresql_looks_after_the_tables_that_change_all_the_time(store: Store) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no vacuum of its own accord, and needs none")
    with store.read() as connection:
        rows = connection.exec_driver_sql("SELECT relname, reloptions FROM pg_class WHERE reloptions <> '{}'")
        settings = {row.relname: row.reloptions for row in rows}
    assert set(settings) >= {"participant", "event", "checkpoint", "interaction", "usage"}
    assert "autovacuum_vacuum_scale_factor=0.02" in settings["event"]
