"""Connections and transactions: concurrent opening, bulk statements, and clients that freeze during a write."""

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event, select, update

from tests.factories import StudyStore, at_once, make_lease, make_step
from understudy.domain.simulation import Person, Usage
from understudy.store import engine, events, lifecycle, people, recovery, stops
from understudy.store.engine import Store
from understudy.store.guards import Claim
from understudy.store.lifecycle import Commit
from understudy.store.schema import Tables

on_postgresql = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


def test_concurrent_opening_of_a_new_file_succeeds(tmp_path: Path) -> None:
    """SQLite refuses some connections while the first one changes the journal mode, whatever their timeout."""

    def journal_mode(store: Store) -> str:
        try:
            with store.read() as connection:
                return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())
        finally:
            store.dispose()

    modes = [
        at_once(*[partial(journal_mode, Store(f"sqlite:///{tmp_path}/{number}.db")) for _ in range(6)])
        for number in range(60)
    ]
    assert modes == [["wal"] * 6] * 60


@on_postgresql
def test_bulk_writes_are_one_statement_each(store: Store) -> None:
    """`understudy.store.bulk_parameters` explains why."""
    study = StudyStore(store)
    ids = study.participants(5)
    repeated: list[str] = []

    @event.listens_for(store.engine, "before_cursor_execute")
    def _record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if isinstance(parameters, list):
            repeated.append(statement)

    study.write(people.insert_people, study.workspace_id, [Person("Ada", 30, "DE", "de", {}, "")] * 2)
    used = Usage(1, 2, 3, 0.5, model="m")
    claimed = study.write(lifecycle.claim_all, ids, study.worker_id)
    commits = [Commit(Claim(id_, 1), make_step(0, ends=id_ == ids[0], usage=used), 5) for id_ in claimed]
    assert study.write(lifecycle.commit_steps, commits) == [True] * 5
    assert study.write(lifecycle.release, Claim(ids[1], 1), 5)
    study.cancel(*ids[3:])
    study.expire_lease()
    assert study.write(recovery.recover_lost, 3, 100).resumed == [ids[2]]
    assert len(study.write(stops.record_stops, 0, 100)) == 2
    assert study.write(events.assign_positions) > 5
    assert repeated == []


@on_postgresql
def test_client_that_freezes_during_a_write_loses_its_locks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "TRANSACTION_TIMEOUT_S", 1)
    make_lease(store)
    frozen = Store(store.url.render_as_string(hide_password=False))
    locked, written = threading.Event(), threading.Event()
    was_written: list[bool] = []

    def rows() -> Iterator[tuple[str]]:
        yield ("a",)
        yield ("b",)
        locked.set()
        was_written.append(written.wait(30))
        yield ("c",)

    def freeze() -> None:
        with frozen.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            with contextlib.suppress(psycopg.OperationalError):
                driver.cursor().executemany("UPDATE lease SET name = %s", rows())
            connection.invalidate()

    freezing = threading.Thread(target=freeze)
    freezing.start()
    locked.wait()
    store.write(lambda connection: connection.execute(update(Tables.lease).values(name="mine")))
    written.set()
    freezing.join()
    frozen.dispose()
    assert was_written == [True], "the write waited for the frozen client"


def test_write_is_repeated_when_its_process_was_frozen_for_too_long(store: Store) -> None:
    """PostgreSQL ends the idle transaction so that others can write; SQLite does not."""
    tries: list[int] = []

    def work(connection: Connection) -> int:
        tries.append(len(tries))
        connection.execute(select(1))
        if len(tries) == 1:
            time.sleep(0.8)
        return connection.execute(select(7)).scalar_one()

    impatient = Store(store.url.render_as_string(hide_password=False), idle_timeout_s=0.2)
    assert impatient.write(work) == 7
    impatient.dispose()
    assert len(tries) == (2 if store.url.get_backend_name() == "postgresql" else 1)
