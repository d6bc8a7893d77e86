"""Two versions side by side on one store and one broker: the previous one, from git, and this one."""

import contextlib
from uuid import UUID

import pytest

from tests.e2e.participants import dispatch_participants, load_rows
from tests.e2e.previous_version import previous_version
from tests.e2e.test_graceful_shutdown import lost
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.invariants import check_invariants
from tests.servers import Fleet, Installation, Process, serve_in_thread, wait_until
from understudy.api.app import create_app
from understudy.deploy.migrate import migrate
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The previous version."""
    return previous_version(tmp_path_factory.mktemp("previous"))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases long enough for a slow machine: no live worker counts as lost."""
    return settings.model_copy(update={"heartbeat_interval_s": 1, "lease_ttl_s": 8})


@pytest.mark.valkey("the previous version does not know it")
def test_during_an_upgrade_both_versions_work_together_and_no_attempt_is_lost(
    bare_settings: Settings, previous: Installation
) -> None:
    """The order of docs/operations.md: migrate, then workers and sweepers, the API last."""
    with contextlib.ExitStack() as running:
        store = Store(bare_settings.store_url)
        running.callback(store.dispose)
        assert Process(bare_settings, "migrate", name="migrate", version=previous).popen.wait(60) == 0
        old_fleet = running.enter_context(Fleet.of(bare_settings, previous))
        *old_workers, old_api = old_fleet.start("run-1", "sweeper", "api")
        old = running.enter_context(ApiClient(store, old_api.url, "acme"))
        study, _ = make_study(store, old.workspace_id, content={"delay_s": 0.2})
        dispatch_participants(old, study, 8, max_interactions=900)
        wait_until(lambda: all(count > 0 for count in _interactions(old, study)))

        migrate(bare_settings)
        new_api = running.enter_context(serve_in_thread(create_app(bare_settings)))
        new = running.enter_context(ApiClient(store, new_api, "other"))
        # The new API with the old workers.
        _run_cancel_extend(store, new)

        running.enter_context(Fleet.of(bare_settings)).start("control", "run-2", "sweeper-2")
        assert [process.stop() for process in old_workers] == [0, 0]
        # The old API with the new workers.
        _run_cancel_extend(store, old)

        # Participants that run all the time neither start again nor end.
        released = {row.id: row.interaction_count for row in load_rows(store, study)}
        wait_until(lambda: all(row.interaction_count > released[row.id] for row in load_rows(store, study)))
        assert {(row.status, row.epoch) for row in load_rows(store, study)} == {("running", 2)}
        assert {row.attempt for row in load_rows(store)} == {0}
        assert lost(store) == 0
        answer = old.post("/v1/simulations/cancel", {"study_id": str(study)}).json()
        assert answer["summary"]["cancelled_count"] == 8
        check_invariants(store)


def _interactions(caller: ApiClient, study: UUID) -> list[int]:
    """Returns the interaction count of each participant from the API."""
    answer = caller.get("/v1/participants", study_id=str(study)).json()
    return [row["interaction_count"] for row in answer["items"]]


def _run_cancel_extend(store: Store, acme: ApiClient) -> None:
    """Does the main job: run, wait, cancel in mid-run, extend."""
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.1})
    short = dispatch_participants(acme, study, 2)
    long = dispatch_participants(acme, study, 4, max_interactions=900)
    wait_until(lambda: all(row.interaction_count > 0 for row in load_rows(store, study)))
    answer = acme.post("/v1/simulations/wait", {"participant_ids": short, "timeout": 60}).json()
    assert [row["status"] for row in answer["participants"]] == ["completed"] * 2, answer
    answer = acme.post("/v1/simulations/cancel", {"study_id": str(study)}).json()
    assert answer["summary"] == {"total": 6, "cancelled_count": 4, "skipped_count": 2}
    stored = {str(row.id): row.interaction_count for row in load_rows(store, study)}
    wait_until(lambda: all(row.stopped_at for row in load_rows(store, study) if row.status == "cancelled"))

    def extend(source: str, **more: object) -> str:
        body = {"participant_id": source, "additional_steps": 2, "instruction": "Left"}
        (id_,) = acme.post("/v1/simulations/extend", body | more).json()["dispatch"]["participant_ids"]
        return str(id_)

    child = extend(short[0], wait=True, timeout=60)
    assert acme.get(f"/v1/participants/{child}").json()["interaction_count"] == 7
    transcript = acme.get(f"/v1/participants/{child}/transcript").json()["items"]
    assert ("user", "Left") in [(item["role"], item["content"]) for item in transcript]
    # The child continues where its source was cancelled.
    child = extend(long[0])
    wait_until(lambda: acme.get(f"/v1/participants/{child}").json()["interaction_count"] > stored[long[0]])
    acme.post(f"/v1/participants/{child}/cancel")
    wait_until(lambda: all(row.stopped_at for row in load_rows(store, study) if row.status == "cancelled"))
    assert acme.get(f"/v1/studies/{study}", view="summary").json()["completed_count"] == 3
    assert {str(row.id): row.interaction_count for row in load_rows(store, study)}.items() >= stored.items()
