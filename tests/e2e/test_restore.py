"""A store that is backed up during a study and restored: the fleet continues from the backup."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
import sqlalchemy

from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.invariants import check_invariants
from tests.servers import ROOT, Fleet, postgres_programs, wait_until
from understudy.deploy.migrate import migrate
from understudy.settings import Settings
from understudy.store.engine import POOLING, Store


class Commands(NamedTuple):
    """Backup commands of docs/operations.md."""

    save: str
    restore: str


POSTGRESQL = Commands(
    'pg_dump --format=custom --no-owner --file understudy.dump "$URL"',
    'pg_restore --exit-on-error --single-transaction --no-owner --dbname "$NEW_URL" understudy.dump',
)
SQLITE = Commands(
    'python3 -c "import sqlite3; '
    """sqlite3.connect('understudy.db').execute(\\"VACUUM INTO 'saved.db'\\")\"""",
    "cp saved.db understudy.db",
)


class Saved(NamedTuple):
    """Saves a store; restores it and returns the new URL."""

    save: Callable[[], None]
    restore: Callable[[], str]


@pytest.fixture
def saved(store_url: str, tmp_path: Path) -> Iterator[Saved]:
    url = sqlalchemy.make_url(store_url)
    if POOLING in url.query:
        # These programs need a session: they connect to the server itself.
        server = sqlalchemy.make_url(os.environ["UNDERSTUDY_TEST_POSTGRES"])
        url = server.set(drivername="postgresql", database=url.database)
    commands = SQLITE if url.get_backend_name() == "sqlite" else POSTGRESQL
    folder = tmp_path / "backup"
    folder.mkdir()
    environment = dict(os.environ)
    new_url = f"sqlite:///{folder / 'restored' / 'understudy.db'}"
    if commands is SQLITE:
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        (folder / "understudy.db").symlink_to(str(url.database))
    else:
        # The server runs the newest of several versions.
        programs = max(Path(str(postgres_programs().__file__)).parent.glob("pginstall*")) / "bin"
        new = url.set(database=f"restored_{uuid4().hex}")
        new_url = new.render_as_string(hide_password=False)
        environment |= {
            "PATH": f"{programs}:{environment['PATH']}",
            "URL": url.render_as_string(hide_password=False),
            "NEW_URL": new_url,
        }
        _administer(url, f"CREATE DATABASE {new.database}")

    def do(command: str, where: Path = folder) -> None:
        subprocess.run(command, shell=True, cwd=where, env=environment, check=True, timeout=120)

    def restore() -> str:
        if commands is SQLITE:
            (folder / "restored").mkdir()
            (folder / "saved.db").rename(folder / "restored" / "saved.db")
            do(commands.restore, folder / "restored")
        else:
            do(commands.restore)
        return new_url

    yield Saved(lambda: do(commands.save), restore)
    if commands is POSTGRESQL:
        _administer(url, f"DROP DATABASE {sqlalchemy.make_url(new_url).database} WITH (FORCE)")


def _administer(url: sqlalchemy.URL, statement: str) -> None:
    engine = sqlalchemy.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_study_saved_half_way_continues_where_it_is_restored(
    store: Store, acme: ApiClient, settings: Settings, saved: Saved, fleet: Fleet
) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    later, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    before = fleet.start("run-1", "sweeper", concurrency=2)
    ids = dispatch_participants(acme, study, 8, max_interactions=8)
    wait_until(lambda: sum(row.interaction_count >= 2 for row in load_rows(store)) >= 2)
    saved.save()
    # The restored store lacks what follows; the broker still has its messages.
    dispatch_participants(acme, later, 8)
    assert acme.post("/v1/simulations/cancel", {"participant_id": ids[-1]}).status_code == 200
    for process in before:
        process.stop()
    restored = settings.model_copy(update={"database_url": saved.restore()})
    migrate(restored)
    new_store = Store(restored.database_url)
    rows = load_rows(new_store)
    assert {str(row.id) for row in rows} == set(ids)
    assert not all_terminal(new_store)
    assert any(row.interaction_count for row in rows)
    with Fleet.of(restored) as new_fleet:
        new_fleet.start("run-1", "sweeper")
        wait_until(lambda: all_terminal(new_store))
    assert counts(new_store) == {"completed": 8}
    assert {row.interaction_count for row in load_rows(new_store)} == {8}
    check_invariants(new_store)
    new_store.dispose()


def test_the_runbook_has_the_tested_commands() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert [command for command in (*POSTGRESQL, *SQLITE) if command not in page] == []
