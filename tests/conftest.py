"""Real servers for all tests: PostgreSQL and Valkey from wheels, started by the controlling process."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest
import sqlalchemy
from hypothesis import settings as hypothesis_settings

from tests.dedicated_brokers import DedicatedBroker, dedicated_broker, empty
from tests.http_client import ApiClient
from tests.invariants import check_invariants
from tests.pgbouncer import PgBouncer
from tests.rabbitmq_server import SKIP_REASON, RabbitServer, is_available
from tests.servers import Fleet, postgres_programs, serve_in_thread
from understudy import gc_tuning
from understudy.api.app import create_app
from understudy.deploy.broker import BrokerServer
from understudy.deploy.migrate import migrate
from understudy.settings import Settings
from understudy.store.engine import Store

# No test measures time: the machine may be busy.
hypothesis_settings.register_profile("understudy", deadline=None)
hypothesis_settings.load_profile("understudy")

PLUGINS = Path(__file__).parent / "plugins"

_POSTGRES = "UNDERSTUDY_TEST_POSTGRES"
_FOLDER = "UNDERSTUDY_TEST_FOLDER"
#: If set, stores on PostgreSQL are reached through PgBouncer: `make pooled`.
_POOLED = "UNDERSTUDY_TEST_POOLED"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broker", choices=["valkey", "rabbitmq"], default="valkey", help="broker for the messages")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("broker") == "rabbitmq":
        for item in items:
            if mark := item.get_closest_marker("valkey"):
                item.add_marker(pytest.mark.skip(reason=f"on RabbitMQ: {mark.args[0]}"))


def pytest_configure(config: pytest.Config) -> None:
    # As in our own processes: imported modules are no garbage.
    gc_tuning.raise_gc_threshold()
    sys.path.insert(0, str(PLUGINS))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PLUGINS), os.environ.get("PYTHONPATH"))))
    for name in [name for name in os.environ if name.startswith("UNDERSTUDY_") and "_TEST_" not in name]:
        del os.environ[name]
    if hasattr(config, "workerinput") or _wants_no_server(config):
        return
    folder = Path(tempfile.mkdtemp(prefix="understudy-tests-"))
    server = postgres_programs().get_server(folder / "postgres", cleanup_mode="stop")
    os.environ[_FOLDER] = str(folder)
    os.environ[_POSTGRES] = server.get_uri()
    config.stash[_server] = server
    if os.environ.get(_POOLED):
        config.stash[_pooler] = pooler = PgBouncer(server.get_uri(), connections=30)
        pooler.__enter__()
        os.environ[_POOLED] = pooler.url_of(server.get_uri())


def _wants_no_server(config: pytest.Config) -> bool:
    """Are only unit tests selected? They need no server."""
    unit = Path(__file__).parent / "unit"
    return bool(config.args) and all(
        Path(argument.partition("::")[0]).absolute().is_relative_to(unit) for argument in config.args
    )


_server = pytest.StashKey[object]()
_pooler = pytest.StashKey[PgBouncer]()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (pooler := config.stash.get(_pooler, None)) is not None:
        pooler.__exit__()
    if (server := config.stash.get(_server, None)) is not None:
        server.cleanup()
        shutil.rmtree(os.environ[_FOLDER], ignore_errors=True)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitServer]:
    """A RabbitMQ that tests share."""
    if not is_available():
        pytest.skip(SKIP_REASON)
    with RabbitServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey that tests share."""
    with BrokerServer(tmp_path_factory.mktemp("broker")) as server:
        yield server.url


@pytest.fixture(scope="session")
def broker_url(request: pytest.FixtureRequest) -> str:
    """The broker that tests share."""
    if request.config.getoption("broker") == "rabbitmq":
        url: str = request.getfixturevalue("rabbitmq").url
        return url
    return str(request.getfixturevalue("redis_url"))


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DedicatedBroker]:
    """A broker of this test, to kill and restart."""
    kind = request.config.getoption("broker")
    if kind == "rabbitmq" and not is_available():
        pytest.skip(SKIP_REASON)
    with dedicated_broker(kind, tmp_path / "own") as server:
        yield server


@pytest.fixture(scope="session")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One migrated, empty store of each kind to copy: a migration per test takes too long."""

    sqlite_file = tmp_path_factory.mktemp("template") / "template.db"
    name = f"template_{uuid4().hex}"
    _administer(f"CREATE DATABASE {name}")
    urls = {"sqlite": f"sqlite:///{sqlite_file}", "postgresql": _postgres_url(name)}
    for url in urls.values():
        migrate(Settings(database_url=url))
    return {"sqlite": str(sqlite_file), "postgresql": name}


#: Yields the URL of an empty, migrated store of a kind, which exists for the time of the block.
EmptyStore: TypeAlias = Callable[[str], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def empty_store(_templates: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> EmptyStore:
    """Creates stores, of "sqlite" or "postgresql"."""

    @contextmanager
    def create(kind: str) -> Iterator[str]:
        if kind == "sqlite":
            file = tmp_path_factory.mktemp("store") / "store.db"
            shutil.copy(_templates["sqlite"], file)
            yield f"sqlite:///{file}"
            return
        name = f"test_{uuid4().hex}"
        _administer(f"CREATE DATABASE {name} TEMPLATE {_templates['postgresql']}")
        yield _postgres_url(name, of=_POOLED if os.environ.get(_POOLED) else _POSTGRES)
        _administer(f"DROP DATABASE {name} WITH (FORCE)")

    return create


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, empty_store: EmptyStore) -> Iterator[str]:
    """An empty, migrated store of this test, of each kind."""
    with empty_store(request.param) as url:
        yield url


def _postgres_url(database: str, of: str = _POSTGRES) -> str:
    url = sqlalchemy.make_url(os.environ[of]).set(drivername="postgresql", database=database)
    return url.render_as_string(hide_password=False)


def _administer(statement: str) -> None:
    engine = sqlalchemy.create_engine(_postgres_url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """The opened store; checks the invariants at the end of the test."""

    opened = Store(store_url)
    yield opened
    check_invariants(opened)
    opened.dispose()


@pytest.fixture
def settings(store_url: str, broker_url: str, tmp_path: Path) -> Settings:
    """Settings with the store of this test and the emptied broker."""

    empty(broker_url)
    return Settings(data_dir=tmp_path, database_url=store_url, broker_url=broker_url)


@pytest.fixture
def bare_settings(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The same with a store that has no tables."""
    if settings.database_url.startswith("sqlite"):
        yield settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'bare.db'}"})
        return
    name = f"bare_{uuid4().hex}"
    _administer(f"CREATE DATABASE {name}")
    yield settings.model_copy(update={"database_url": _postgres_url(name)})
    _administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def api(settings: Settings) -> Iterator[str]:
    """The address of an API server on loopback."""

    with serve_in_thread(create_app(settings)) as url:
        yield url


@pytest.fixture
def acme(store: Store, api: str) -> Iterator[ApiClient]:
    """An HTTP client with a workspace."""

    with ApiClient(store, api, "acme") as caller:
        yield caller


@pytest.fixture
def rival(store: Store, api: str) -> Iterator[ApiClient]:
    """An HTTP client with another workspace on the same server."""

    with ApiClient(store, api, "rival") as caller:
        yield caller


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    """Workers, sweepers and API servers as processes; ends them at the end of the test."""

    started = Fleet(settings)
    yield started
    started.stop()
