"""What a store does for whoever falls silent in the middle of a write: nothing, and not for long."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, update

from tests.factories import make_lease, make_participants, make_study, make_workspace
from tests.integration.test_store_lifecycle import make_step
from understudy.domain.simulation import Person, Usage
from understudy.store import engine, events, leases, lifecycle, people, recovery, stops
from understudy.store.engine import Store
from understudy.store.guards import Claim
from understudy.store.lifecycle import Commit
from understudy.store.schema import Tables

on_postgresql = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """SQLite refuses some of them at once, whatever its timeout, while the first one switches it over."""
    for number in range(60):
        url = f"sqlite:///{tmp_path}/{number}.db"
        barrier = threading.Barrier(6)

        def open_it(url: str = url, barrier: threading.Barrier = barrier) -> str:
            opened = Store(url)
            barrier.wait()
            try:
                with opened.read() as connection:
                    return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())
            finally:
                opened.dispose()

        with ThreadPoolExecutor(6) as threads:
            assert [done.result() for done in [threads.submit(open_it) for _ in range(6)]] == ["wal"] * 6


@on_postgresql
def test_what_is_written_for_many_is_one_statement_each(store: Store) -> None:
    """`understudy.store.bulk_parameters` tells why."""
    several: list[str] = []

    @event.listens_for(store.engine, "before_cursor_execute")
    def _note(*told: Any) -> None:
        _, _, statement, parameters, *_ = told
        if isinstance(parameters, list):
            several.append(statement)

    workspace = make_workspace(store).workspace_id
    study, (iteration,) = make_study(store, workspace)
    ids = make_participants(store, workspace, study, iteration, 5)
    worker = make_lease(store)
    profiles = [Person("Ada", 30, "DE", "de", {}, "") for _ in range(2)]
    store.write(lambda connection: people.insert_people(connection, workspace, profiles))
    took = Usage(1, 2, 3, 0.5, model="m")
    claimed = store.write(lambda connection: lifecycle.claim_all(connection, ids, worker))
    commits = [Commit(Claim(id_, 1), make_step(0, ends=id_ == ids[0], usage=took), 5) for id_ in claimed]
    assert store.write(lambda connection: lifecycle.commit_steps(connection, commits)) == [True] * 5
    assert store.write(lambda connection: lifecycle.release(connection, Claim(ids[1], 1), 5))
    store.write(lambda connection: lifecycle.cancel(connection, workspace, ids[3:]))
    store.write(lambda connection: leases.expire_lease(connection, worker))
    assert store.write(lambda connection: recovery.recover_lost(connection, 3, 100)).resumed == [ids[2]]
    assert len(store.write(lambda connection: stops.record_stops(connection, 0, 100))) == 2
    assert store.write(events.assign_positions) > 5
    assert several == []


@on_postgresql
def test_who_falls_silent_in_the_middle_of_a_write_holds_nothing_for_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT_S", 1)
    make_lease(store)
    frozen = Store(store.url.render_as_string(hide_password=False))
    held = threading.Event()

    def rows() -> Iterator[tuple[str]]:
        yield ("a",)
        yield ("b",)
        held.set()
        time.sleep(3)
        yield ("c",)

    def freeze() -> None:
        with frozen.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            with contextlib.suppress(psycopg.OperationalError):
                driver.cursor().executemany("UPDATE lease SET name = %s", rows())
            connection.invalidate()

    freezing = threading.Thread(target=freeze)
    freezing.start()
    held.wait()
    store.write(lambda connection: connection.execute(update(Tables.lease).values(name="mine")))
    assert freezing.is_alive()
    freezing.join()
    frozen.dispose()
