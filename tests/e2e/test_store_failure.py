"""A store that is down, locked or a standby for seconds: clients come again, and every run goes on."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.e2e.store_link import locked
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, PostgresServer, wait_until
from understudy.deploy.migrate import migrate
from understudy.settings import Settings
from understudy.store.engine import Store


class Losable(NamedTuple):
    """A store, and what takes it from everybody for the time of a block."""

    url: str
    away: Callable[[], contextlib.AbstractContextManager[None]]
    #: Those who write wait for it instead of being refused.
    waits: bool = False
    #: It can still be read.
    readable: bool = False


@pytest.fixture(params=["sqlite", "postgresql", "standby"])
def losable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Losable]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / 'store.db'}"
            one = Losable(url, lambda: locked_for_long(url), waits=True)
        else:
            server = stack.enter_context(PostgresServer())
            readable = request.param == "standby"
            one = Losable(server.url, server.standby if readable else server.stopped, readable=readable)
        migrate(Settings(database_url=one.url))
        yield one


@contextlib.contextmanager
def locked_for_long(url: str) -> Iterator[None]:
    """Nobody else writes for four seconds at least, longer than any lease here."""
    with locked(url):
        yield
        time.sleep(4)


@pytest.fixture
def store_url(losable: Losable) -> str:
    return losable.url


def test_clients_come_again_and_every_run_goes_on(
    store: Store, acme: ApiClient, fleet: Fleet, losable: Losable
) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    ended, _ = make_study(store, acme.workspace_id)
    fleet.start("run-1", "control", "sweeper")
    (source,) = dispatch_participants(acme, ended, 1)
    wait_until(lambda: all_terminal(store))
    dispatch_participants(acme, study, 8, max_interactions=20)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store)))
    asked = {
        "/v1/simulations/extend": {"participant_id": source, "additional_steps": 2},
        f"/v1/studies/{study}/run": {"sample": 1, "max_interactions": 2},
        "/v1/simulations/cancel": {"participant_id": source},
    }
    with ThreadPoolExecutor(len(asked)) as clients, losable.away():
        answers = [clients.submit(acme.post, path, body) for path, body in asked.items()]
        if not losable.waits:
            # Whom a cancel is for has ended, which a read is enough to tell.
            for answer in answers[:2] if losable.readable else answers:
                assert answer.result().status_code == 503
    for answer in answers:
        if answer.result().status_code == 503:
            body = answer.result().json()
            assert (body["error_code"], body["retryable"]) == ("service_unavailable", True)
    # Those that could wait were answered, and are among those that complete.
    accepted = sum(answer.result().status_code == 202 for answer in answers)
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 9 + accepted}
    more = dispatch_participants(acme, ended, 4)
    answer = acme.post("/v1/simulations/wait", {"participant_ids": more, "timeout": 60})
    assert answer.json()["ok"], answer.text
