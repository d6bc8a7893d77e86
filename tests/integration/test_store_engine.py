"""Connections and transactions: concurrent opening, bulk statements, and clients that freeze during a write."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event, select, update
from sqlalchemy.exc import DBAPIError

from tests.factories import StudyStore, at_once, make_lease, make_step
from tests.parameters import on_postgresql
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.simulation import Person, Usage
from understudy.store import engine, events, leases, lifecycle, people, recovery, stops
from understudy.store.engine import Store
from understudy.store.failures import StoreFailure, classify
from understudy.store.guards import Claim
from understudy.store.lifecycle import Commit
from understudy.store.schema import Tables


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
    assert all(study.write(lifecycle.commit_steps, commits))
    assert study.write(lifecycle.release, Claim(ids[1], 1), 5)
    study.cancel(*ids[3:])
    study.expire_lease()
    assert study.write(recovery.recover_lost, 3, 100).resumed == [ids[2]]
    assert len(study.write(stops.record_stops, 0, 100)) == 2
    assert study.write(events.assign_positions) > 5
    assert repeated == []


@on_postgresql
def test_write_that_loses_all_its_races_raises_service_unavailable(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def lose(connection: Connection) -> None:
        tries.append(len(tries))
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$")

    with pytest.raises(ServiceUnavailable) as raised:
        store.write(lose)
    assert len(tries) == engine.MAX_TRANSACTION_TRIES
    assert "RAISE" not in raised.value.text
    assert caplog.messages == ["store busy: a transaction lost all its races: lost"]
    with pytest.raises(ServiceUnavailable), store.read() as connection:
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '25P04'; END $$")


@pytest.mark.parametrize("statement", ["SELECT 1 FROM nowhere", "SELECT nothing FROM lease", "SELEC 1"])
def test_statement_that_does_not_fit_the_schema_is_raised_as_it_is(
    store: Store, caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    """A store that is not migrated answers: callers that wait for an unavailable one would wait for ever."""
    with pytest.raises(DBAPIError) as raised:
        store.write(lambda connection: connection.exec_driver_sql(statement))
    assert classify(raised.value) is StoreFailure.DEFECT
    (line,) = caplog.messages
    assert line.startswith("store refused a statement")
    assert "\n" not in line


def test_value_that_the_store_refuses_is_raised_as_it_is(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    worker_id = make_lease(store)
    with pytest.raises(DBAPIError) as raised:
        store.write(lambda connection: leases.create_lease(connection, worker_id, "my name", 60))
    assert classify(raised.value) is StoreFailure.VALUE
    assert "my name" not in str(raised.value)
    assert caplog.messages == []


def test_sqlite_that_cannot_be_opened_read_or_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    read_only = tmp_path / "read-only.db"
    Store(f"sqlite:///{read_only}").write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (c)"))
    for url in (
        f"sqlite:///{tmp_path}/missing/store.db",
        f"sqlite:///{tmp_path}/folder.db",
        f"sqlite:///file:{read_only}?mode=ro&uri=true",
    ):
        with pytest.raises(ServiceUnavailable):
            Store(url).write(lambda connection: connection.exec_driver_sql("INSERT INTO t VALUES (1)"))


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (psycopg.errors.lookup(sqlstate)("x"), failure)
        for failure, states in {
            StoreFailure.RACE: ("40001", "40P01", "25P03"),
            StoreFailure.UNAVAILABLE: ("08006", "53100", "53300", "55P03", "57014", "57P01", "58030", "25006", "0A000"),
            StoreFailure.VALUE: ("22P02", "22003", "23505"),
            StoreFailure.DEFECT: ("42P01", "42703", "42501", "54001", "XX000"),
        }.items()
        for sqlstate in states
    ],
    ids=lambda value: getattr(value, "sqlstate", ""),
)
def test_error_of_postgresql_is_classified_by_its_state(error: psycopg.Error, failure: StoreFailure) -> None:
    wrapped = DBAPIError.instance("SELECT 1", {}, error, psycopg.Error)
    assert isinstance(wrapped, DBAPIError)
    assert classify(wrapped) is failure


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


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_write_to_a_full_disk_says_so(store_url: str) -> None:
    store = Store(store_url)

    def fill(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(10000000) AS bytes")

    with pytest.raises(ServiceUnavailable, match="The disk of the store is full"):
        store.write(fill)
    with store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM participant").scalar() == 0
    store.dispose()


def test_store_url_with_an_ipv6_address_connects_to_it() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        store = Store(f"postgresql://a:b@[::1]:{server.getsockname()[1]}/understudy")
        with ThreadPoolExecutor() as pool:
            accepted = pool.submit(server.accept)
            connecting = pool.submit(store.write, lambda _: None)
            accepted.result(30)[0].close()
            with pytest.raises(ServiceUnavailable):
                connecting.result(30)
        store.dispose()
