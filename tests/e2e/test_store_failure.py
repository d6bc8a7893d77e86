"""A store that is down, locked or a standby for seconds: clients repeat requests, and every run continues."""

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


class FailingStore(NamedTuple):
    """A store, and a context manager that makes it unavailable."""

    url: str
    outage: Callable[[], contextlib.AbstractContextManager[None]]
    #: Writers wait for the end of the outage instead of an error.
    waits: bool = False
    #: The store can still be read.
    readable: bool = False


@pytest.fixture(params=["sqlite", "postgresql", "standby"])
def failing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FailingStore]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / 'store.db'}"
            store = FailingStore(url, lambda: locked_for_long(url), waits=True)
        else:
            server = stack.enter_context(PostgresServer())
            readable = request.param == "standby"
            store = FailingStore(server.url, server.standby if readable else server.stopped, readable=readable)
        migrate(Settings(database_url=store.url))
        yield store


@contextlib.contextmanager
def locked_for_long(url: str) -> Iterator[None]:
    """Blocks other writers for at least four seconds, longer than the leases here."""
    with locked(url):
        yield
        time.sleep(4)


@pytest.fixture
def store_url(failing: FailingStore) -> str:
    return failing.url


def test_after_an_outage_every_run_continues_and_refused_requests_can_be_repeated(
    store: Store, acme: ApiClient, fleet: Fleet, failing: FailingStore
) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    ended, _ = make_study(store, acme.workspace_id)
    fleet.start("run-1", "control", "sweeper")
    (source,) = dispatch_participants(acme, ended, 1)
    wait_until(lambda: all_terminal(store))
    dispatch_participants(acme, study, 8, max_interactions=20)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store)))
    requests = {
        "/v1/simulations/extend": {"participant_id": source, "additional_steps": 2},
        f"/v1/studies/{study}/run": {"sample": 1, "max_interactions": 2},
        "/v1/simulations/cancel": {"participant_id": source},
    }
    with ThreadPoolExecutor(len(requests)) as clients, failing.outage():
        calls = [clients.submit(acme.post, path, body) for path, body in requests.items()]
        if not failing.waits:
            # The source of the cancel has ended: a read is enough for its answer.
            refused = calls[:2] if failing.readable else calls
            assert {call.result().status_code for call in refused} == {503}
    answers = [call.result() for call in calls]
    bodies = [answer.json() for answer in answers if answer.status_code == 503]
    assert {(body["error_code"], body["retryable"]) for body in bodies} <= {("service_unavailable", True)}
    # Accepted participants complete as well.
    accepted = sum(answer.status_code == 202 for answer in answers)
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 9 + accepted}
    more = dispatch_participants(acme, ended, 4)
    answer = acme.post("/v1/simulations/wait", {"participant_ids": more, "timeout": 60})
    assert answer.json()["ok"], answer.text
