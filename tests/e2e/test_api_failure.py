"""An API process that dies right before or right after a commit: nothing happened, or all of it did."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.e2e.participants import all_terminal, counts, load_rows
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, Process, free_port, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases long enough for a slow machine: nobody is to be taken for lost who is not."""
    return settings.model_copy(update={"heartbeat_interval_s": 1, "lease_ttl_s": 8})


class ApiProcess:
    """The API as a process of its own, always on the same port."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: Process | None = None

    def start(self, faults: str = "") -> None:
        """Start it, once the one before has died; it answers when this returns."""
        if self._process is not None:
            assert self._process.popen.wait(30) == -signal.SIGKILL
        command = ("api", "--port", str(self._port))
        self._process = Process(self._settings, *command, name="api", UNDERSTUDY_FAULTS=faults)
        wait_until(self._answers, what="the API answers")

    def kill(self) -> None:
        if self._process is not None:
            self._process.popen.kill()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/healthz", verify=False, trust_env=False).status_code == 200
        return False


@pytest.fixture
def mortal(settings: Settings) -> Iterator[ApiProcess]:
    process = ApiProcess(settings)
    yield process
    process.stop()


@pytest.fixture
def acme(store: Store, mortal: ApiProcess) -> Iterator[ApiClient]:
    with ApiClient(store, mortal.url, "acme") as caller:
        yield caller


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_dispatch_is_there_or_not_and_repeated_it_is_there_once(
    store: Store, acme: ApiClient, mortal: ApiProcess, fleet: Fleet, side: str
) -> None:
    fleet.start("run-1", "sweeper")
    study, _ = make_study(store, acme.workspace_id)
    keys = {"Idempotency-Key": str(uuid4())}

    def dispatch(path: str, body: dict[str, Any], place: str) -> list[str]:
        """Ask twice: the first time it dies, the second time it answers."""
        mortal.start(f"{place}.{side}=kill@1")
        known = {str(row.id) for row in load_rows(store)}
        with pytest.raises(httpx.HTTPError):
            acme.http.post(path, json=body, headers=keys)
        there = {str(row.id) for row in load_rows(store)} - known
        assert bool(there) == (side == "after")
        # Nobody has to ask again for it to run.
        wait_until(lambda: all_terminal(store), what="what was committed completes")
        mortal.start()
        answer = acme.http.post(path, json=body, headers=keys)
        assert answer.status_code == 202, answer.text
        ids: list[str] = answer.json()["dispatch"]["participant_ids"]
        assert not there or set(ids) == there
        assert {str(row.id) for row in load_rows(store)} - known == set(ids)
        wait_until(lambda: all_terminal(store))
        mortal.kill()
        return ids

    source = dispatch(f"/v1/studies/{study}/run", {"sample": 3, "max_interactions": 2}, "run.commit")[0]
    dispatch("/v1/simulations/extend", {"participant_id": source}, "extend.commit")
    assert counts(store) == {"completed": 4}
    assert {row.epoch for row in load_rows(store)} == {1}


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_cancel_that_was_committed_holds_and_its_stop_is_recorded(
    store: Store, acme: ApiClient, mortal: ApiProcess, fleet: Fleet, side: str
) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id, content={"delay_s": 600}, step_timeout_s=3600)
    make_participants(store, acme.workspace_id, study, iteration, 4)
    fleet.start("run-1", "sweeper")
    mortal.start(f"cancel.commit.{side}=kill@1")
    wait_until(lambda: counts(store) == {"running": 4})
    with pytest.raises(httpx.HTTPError):
        acme.post("/v1/simulations/cancel", {"study_id": str(study)})
    assert counts(store) == ({"running": 4} if side == "before" else {"cancelled": 4})
    if side == "before":
        mortal.start()
        envelope = acme.post("/v1/simulations/cancel", {"study_id": str(study)}).json()
        assert envelope["summary"]["cancelled_count"] == 4
    wait_until(lambda: all(row.stopped_at for row in load_rows(store)))
    assert counts(store) == {"cancelled": 4}
