"""Clients that compare every answer with /openapi.json, on servers that all tests of a process share.

Each test finds an empty store. To create a store and a server takes longer than most of the tests here.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from uuid import uuid4

import pytest
import sqlalchemy

from tests.conftest import _administer, _postgres_url
from tests.contract.openapi import check_answer
from tests.http_client import ApiClient
from tests.servers import serve_in_thread
from understudy.api.app import create_app
from understudy.settings import Settings
from understudy.store.schema import Tables

#: The URL of a store, and the address of a server on it.
Installation = tuple[str, str]


@pytest.fixture(scope="session")
def installation(
    _templates: dict[str, str], broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Installation]]:
    """Returns the installation on sqlite or postgresql; the first call starts it."""
    with ExitStack() as running:

        @cache
        def installed(kind: str) -> Installation:
            folder = tmp_path_factory.mktemp(kind)
            if kind == "sqlite":
                shutil.copy(_templates[kind], folder / "store.db")
                url = f"sqlite:///{folder / 'store.db'}"
            else:
                name = f"contract_{uuid4().hex}"
                _administer(f"CREATE DATABASE {name} TEMPLATE {_templates[kind]}")
                running.callback(_administer, f"DROP DATABASE {name} WITH (FORCE)")
                url = _postgres_url(name)
            settings = Settings(data_dir=folder, database_url=url, broker_url=broker_url)
            return url, running.enter_context(serve_in_thread(create_app(settings)))

        yield installed


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, installation: Callable[[str], Installation]) -> str:
    """A store of each kind, emptied."""
    url, _ = installation(request.param)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for table in reversed(Tables.workspace.metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return url


@pytest.fixture
def api(store_url: str, settings: Settings, installation: Callable[[str], Installation]) -> str:
    """The address of the server on that store."""
    _, address = installation(sqlalchemy.make_url(store_url).get_backend_name())
    return address


@pytest.fixture
def acme(acme: ApiClient) -> ApiClient:
    acme.http.event_hooks["response"].append(partial(check_answer, acme.api))
    return acme


@pytest.fixture
def rival(rival: ApiClient) -> ApiClient:
    rival.http.event_hooks["response"].append(partial(check_answer, rival.api))
    return rival


@pytest.fixture
def api_with(settings: Settings) -> Iterator[Callable[..., str]]:
    """Starts another server on the same store with changed settings, and returns its address."""
    with ExitStack() as servers:
        yield lambda **changes: servers.enter_context(serve_in_thread(create_app(settings.model_copy(update=changes))))
