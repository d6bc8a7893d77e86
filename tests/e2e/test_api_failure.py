"""An API process that dies right before or right after a commit: the request has no effect, or all of it."""

import signal
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.e2e.participants import all_terminal, counts, load_rows
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, Process, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases long enough for a slow machine: no live worker counts as lost."""
    return settings.model_copy(update={"heartbeat_interval_s": 1, "lease_ttl_s": 8})


class MortalApi:
    """An API process that dies at a fault point and is started again with another one."""

    def __init__(self, client: ApiClient, fleet: Fleet) -> None:
        self._fleet = fleet
        self.client = client

    def start(self, fault: str = "") -> None:
        (process,) = self._fleet.start("api", UNDERSTUDY_FAULTS=fault and f"{fault}=kill@1")
        self.client.http.base_url = httpx.URL(process.url)
        self._process: Process = process

    def dies(self, path: str, body: dict[str, Any], **headers: str) -> None:
        """Sends a request that the process does not survive."""
        with pytest.raises(httpx.HTTPError):
            self.client.http.post(path, json=body, headers=headers)
        assert self._process.popen.wait(30) == -signal.SIGKILL


@pytest.fixture
def api(store: Store, fleet: Fleet) -> Iterator[MortalApi]:
    with ApiClient(store, "", "acme") as client:
        yield MortalApi(client, fleet)


@pytest.mark.timeout(240)
def test_a_dispatch_happens_completely_or_not_and_its_repeat_only_once(
    store: Store, api: MortalApi, fleet: Fleet
) -> None:
    fleet.start("run-1", "sweeper")
    study, _ = make_study(store, api.client.workspace_id)

    def dispatch(path: str, body: dict[str, Any], place: str) -> list[str]:
        """Sends one request three times: the API dies before the commit, then after it, then answers."""
        headers = {"Idempotency-Key": str(uuid4())}
        known = {str(row.id) for row in load_rows(store)}

        def created() -> set[str]:
            return {str(row.id) for row in load_rows(store)} - known

        api.start(f"{place}.before")
        api.dies(path, body, **headers)
        assert not created()
        api.start(f"{place}.after")
        api.dies(path, body, **headers)
        committed = created()
        assert committed
        # It runs without another request.
        wait_until(lambda: all_terminal(store), what="all committed participants end")
        api.start()
        answer = api.client.http.post(path, json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        ids: list[str] = answer.json()["dispatch"]["participant_ids"]
        assert set(ids) == committed == created()
        return ids

    source = dispatch(f"/v1/studies/{study}/run", {"sample": 3, "max_interactions": 2}, "run.commit")[0]
    dispatch("/v1/simulations/extend", {"participant_id": source}, "extend.commit")
    assert counts(store) == {"completed": 4}
    assert {row.epoch for row in load_rows(store)} == {1}


def test_a_committed_cancel_holds_and_its_stop_is_recorded(store: Store, api: MortalApi, fleet: Fleet) -> None:
    study, (iteration,) = make_study(store, api.client.workspace_id, content={"delay_s": 600}, step_timeout_s=3600)
    make_participants(store, api.client.workspace_id, study, iteration, 4)
    fleet.start("run-1", "sweeper")
    wait_until(lambda: counts(store) == {"running": 4})
    api.start("cancel.commit.before")
    api.dies("/v1/simulations/cancel", {"study_id": str(study)})
    assert counts(store) == {"running": 4}
    api.start("cancel.commit.after")
    api.dies("/v1/simulations/cancel", {"study_id": str(study)})
    assert counts(store) == {"cancelled": 4}
    wait_until(lambda: all(row.stopped_at for row in load_rows(store)))
    assert counts(store) == {"cancelled": 4}
