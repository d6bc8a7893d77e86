"""The main job with real processes: workers, sweeper, broker, API, both stores."""

import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.dedicated_brokers import empty
from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store
from understudy.store.schema import Tables


def test_a_study_runs_to_its_end(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    study, _ = make_study(store, acme.workspace_id)
    fleet.start("run-1", "sweeper")
    ids = dispatch_participants(acme, study, 12)
    answer = acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 30})
    assert answer.json()["ok"], answer.text
    assert counts(store) == {"completed": 12}
    assert all(row.epoch == 1 and row.dispatch_no == 1 for row in load_rows(store))


def test_cancelled_in_mid_run_nothing_is_stored_after_the_answer(
    store: Store, acme: ApiClient, fleet: Fleet, tmp_path: Path
) -> None:
    log = tmp_path / "steps.log"
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.1, "log": str(log)})
    fleet.start("run-1", "control", "sweeper", concurrency=40)
    dispatch_participants(acme, study, 40, max_interactions=900)
    wait_until(lambda: counts(store).get("running") == 40)
    answer = acme.post("/v1/simulations/cancel", {"study_id": str(study)}).json()
    with store.read() as connection:
        at_answer = connection.scalar(select(func.count()).select_from(Tables.interaction))
    assert answer["summary"] == {"total": 40, "cancelled_count": 40, "skipped_count": 0}
    assert counts(store) == {"cancelled": 40}
    wait_until(lambda: all(row.stopped_at for row in load_rows(store)), what="all stops recorded")
    with store.read() as connection:
        later = connection.scalar(select(func.count()).select_from(Tables.interaction))
    assert later == at_answer


def test_a_step_in_flight_is_aborted_not_awaited(store: Store, acme: ApiClient, fleet: Fleet, tmp_path: Path) -> None:
    log = tmp_path / "steps.log"
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 600, "log": str(log)})
    fleet.start("run-1", "control", "sweeper")
    dispatch_participants(acme, study, 4)
    wait_until(lambda: log.exists() and log.read_text().count("act 0") == 4)
    acme.post("/v1/simulations/cancel", {"study_id": str(study)})
    wait_until(lambda: log.read_text().count("aborted 0") == 4, 5)
    wait_until(lambda: all(row.stopped_at for row in load_rows(store)))


@pytest.mark.parametrize("mishap", ["no worker was up", "broker emptied", "workers restarted"])
def test_a_cancelled_one_that_waited_never_starts(
    store: Store, acme: ApiClient, fleet: Fleet, settings: Settings, mishap: str, tmp_path: Path
) -> None:
    log = tmp_path / "steps.log"
    content = {"delay_s": 0.3, "log": str(log)}
    study, _ = make_study(store, acme.workspace_id, content=content)
    if mishap == "workers restarted":
        # One is busy with the first, the other waits behind it.
        (worker,) = fleet.start("run-1", concurrency=1)
        dispatch_participants(acme, study, 2, max_interactions=50)
        wait_until(lambda: counts(store).get("running") == 1)
    else:
        dispatch_participants(acme, study, 2)
    answer = acme.post("/v1/simulations/cancel", {"study_id": str(study)}).json()
    assert answer["summary"]["cancelled_count"] == 2
    if mishap == "broker emptied":
        empty(settings.broker_url)
    if mishap == "workers restarted":
        worker.stop()
    opened = log.read_text().count("open") if log.exists() else 0
    fleet.start("run-2", "control", "sweeper")
    # Another study goes through the same queue behind them: had they been to start, they would have.
    other, _ = make_study(store, acme.workspace_id)
    ids = dispatch_participants(acme, other, 4)
    assert acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 30}).json()["ok"]
    assert (log.read_text().count("open") if log.exists() else 0) == opened
    assert counts(store) == {"completed": 4, "cancelled": 2}
    wait_until(lambda: all(row.stopped_at for row in load_rows(store) if row.status == "cancelled"))


def test_a_killed_workers_participants_go_on_elsewhere(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    (victim,) = fleet.start("run-1")
    fleet.start("sweeper")
    dispatch_participants(acme, study, 8, max_interactions=8)
    wait_until(lambda: counts(store).get("running") == 8)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store)))
    victim.stop(signal.SIGKILL)
    fleet.start("run-2")
    wait_until(lambda: all_terminal(store), 40)
    assert counts(store) == {"completed": 8}
    assert {row.epoch for row in load_rows(store)} == {2}


def test_a_frozen_worker_that_thaws_writes_nothing(store: Store, acme: ApiClient, fleet: Fleet, tmp_path: Path) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    (frozen,) = fleet.start("run-1")
    fleet.start("sweeper")
    dispatch_participants(acme, study, 4, max_interactions=10)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store)))
    frozen.popen.send_signal(signal.SIGSTOP)
    wait_until(lambda: counts(store).get("pending") == 4)
    fleet.start("run-2")
    wait_until(lambda: all(row.epoch == 2 for row in load_rows(store)))
    frozen.popen.send_signal(signal.SIGCONT)
    # The invariants, checked when the test is through, would show two writers.
    wait_until(lambda: all_terminal(store), 40)
    assert counts(store) == {"completed": 4}


def test_a_worker_told_to_go_gives_everything_back_at_once(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    (leaving,) = fleet.start("run-1")
    fleet.start("run-2", "sweeper")
    dispatch_participants(acme, study, 8, max_interactions=15)
    wait_until(lambda: counts(store).get("running") == 8)
    assert leaving.stop() == 0
    wait_until(lambda: all_terminal(store), 40)
    assert counts(store) == {"completed": 8}
    assert {row.attempt for row in load_rows(store)} == {0}


def test_an_emptied_broker_costs_time_only(store: Store, acme: ApiClient, fleet: Fleet, settings: Settings) -> None:
    study, _ = make_study(store, acme.workspace_id)
    ids = dispatch_participants(acme, study, 8)
    wait_until(lambda: all(row.dispatched_at for row in load_rows(store)))
    empty(settings.broker_url)
    fleet.start("run-1", "sweeper")
    answer = acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 30})
    assert answer.json()["ok"], answer.text
    assert {row.epoch for row in load_rows(store)} == {1}


def test_an_extend_waits_for_its_result(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    study, _ = make_study(store, acme.workspace_id)
    fleet.start("run-1", "control", "sweeper")
    (source,) = dispatch_participants(acme, study, 1)
    wait_until(lambda: all_terminal(store))
    began = time.monotonic()
    body = {"participant_id": source, "additional_steps": 3, "instruction": "Left", "wait": True}
    answer = acme.post("/v1/simulations/extend", body | {"timeout": 30})
    assert answer.status_code == 200
    assert answer.json()["participants"][0]["interaction_count"] == 8
    assert time.monotonic() - began < 25


def test_told_to_go_again_and_again_they_go(fleet: Fleet) -> None:
    """A signal handler that waits for a lock of the thread it interrupts would hang for ever."""
    started = fleet.start("run-1", "control", "sweeper")
    for _ in range(20):
        for process in started:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGTERM)
    for process in started:
        # An interpreter that is just ending has no handlers any more: the signal may still be what ends it.
        assert process.popen.wait(30) in {0, -signal.SIGTERM}
