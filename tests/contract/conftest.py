"""Callers whose every answer is held against /openapi.json, and servers with settings of their own.

There are many tests here, each with a server. Only the PostgreSQL database is the same for all of a process,
emptied for each test: making one takes longer than most of them.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy

from api.app import create_app
from shared.settings import Settings
from shared.store.schema import Tables
from tests.callers import Caller
from tests.conftest import _administer, _postgres_url
from tests.contract.openapi import check_answer
from tests.servers import serve_in_thread


@pytest.fixture(scope="session")
def _database(_templates: dict[str, str]) -> Iterator[str]:
    name = f"contract_{uuid4().hex}"
    _administer(f"CREATE DATABASE {name} TEMPLATE {_templates['postgresql']}")
    yield name
    _administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, _templates: dict[str, str], tmp_path: Path) -> str:
    """An empty store of each kind, of this test alone."""
    if request.param == "sqlite":
        shutil.copy(_templates["sqlite"], tmp_path / "store.db")
        return f"sqlite:///{tmp_path / 'store.db'}"
    name = request.getfixturevalue("_database")
    # Nobody of the test before is to write any more.
    _administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    engine = sqlalchemy.create_engine(_postgres_url(name))
    with engine.begin() as connection:
        for table in reversed(Tables.workspace.metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return _postgres_url(name)


@pytest.fixture
def acme(acme: Caller) -> Caller:
    acme.http.event_hooks["response"].append(partial(check_answer, acme.api))
    return acme


@pytest.fixture
def rival(rival: Caller) -> Caller:
    rival.http.event_hooks["response"].append(partial(check_answer, rival.api))
    return rival


@pytest.fixture
def api_with(settings: Settings) -> Iterator[Callable[..., str]]:
    """Starts another server on the same store, with some settings changed; its address."""
    with ExitStack() as servers:
        yield lambda **changes: servers.enter_context(
            serve_in_thread(create_app(settings.model_copy(update=changes)))
        )
