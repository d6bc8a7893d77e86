"""A store that was saved in the middle of a study and restored: the fleet goes on from what was saved."""

import os
import shlex
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
    """As operations.md has them."""

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
    """How to save a store and what of it was restored."""

    save: Callable[[], None]
    restore: Callable[[], str]


@pytest.fixture
def saved(store_url: str, tmp_path: Path) -> Iterator[Saved]:
    url = sqlalchemy.make_url(store_url)
    if POOLING in url.query:
        # These programs need a session, and go to the server itself.
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
        # Of several versions the newest is the one that runs.
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


def test_a_study_that_was_saved_half_way_goes_on_where_it_is_restored(
    store: Store, acme: ApiClient, settings: Settings, saved: Saved, fleet: Fleet
) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    later, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    before = fleet.start("run-1", "sweeper", concurrency=2)
    ids = dispatch_participants(acme, study, 8, max_interactions=8)
    wait_until(lambda: sum(row.interaction_count >= 2 for row in load_rows(store)) >= 2)
    saved.save()
    # What comes after is lost, and the broker still speaks of it.
    dispatch_participants(acme, later, 8)
    assert acme.post("/v1/simulations/cancel", {"participant_id": ids[-1]}).status_code == 200
    for process in before:
        process.stop()
    restored = settings.model_copy(update={"database_url": saved.restore()})
    migrate(restored)
    there = Store(restored.database_url)
    half = load_rows(there)
    assert {str(row.id) for row in half} == set(ids)
    assert not all_terminal(there)
    assert any(row.interaction_count for row in half)
    with Fleet.of(restored) as again:
        again.start("run-1", "sweeper")
        wait_until(lambda: all_terminal(there))
    assert counts(there) == {"completed": 8}
    assert all(row.interaction_count == 8 for row in load_rows(there))
    check_invariants(there)
    there.dispose()


def test_the_runbook_has_these_very_commands() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for command in (*POSTGRESQL, *SQLITE):
        assert command in page, shlex.join([command])
