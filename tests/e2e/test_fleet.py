"""The main job with real processes: workers, sweeper, broker, API, both stores."""

import signal
from pathlib import Path
from typing import Any

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
from understudy.worker.process import CONTROL_CONCURRENCY


def test_participants_complete_extend_and_end_at_a_cancel(
    store: Store, acme: ApiClient, fleet: Fleet, tmp_path: Path
) -> None:
    log = tmp_path / "steps.log"
    processes = fleet.start("run-1", "control", "sweeper", concurrency=40)

    short, _ = make_study(store, acme.workspace_id)
    ids = dispatch_participants(acme, short, 12)
    answer = acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 30})
    assert answer.json()["ok"], answer.text
    assert counts(store) == {"completed": 12}
    assert {(row.epoch, row.dispatch_no) for row in load_rows(store)} == {(1, 1)}
    body = {"participant_id": ids[0], "additional_steps": 3, "instruction": "Left", "wait": True, "timeout": 25}
    extended = acme.post("/v1/simulations/extend", body)
    assert (extended.status_code, extended.json()["participants"][0]["interaction_count"]) == (200, 8)

    # Once the cancel is answered, no interaction is stored.
    long, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.1})
    dispatch_participants(acme, long, 36, max_interactions=900)
    stuck, _ = make_study(store, acme.workspace_id, content={"delay_s": 600, "log": str(log)})
    dispatch_participants(acme, stuck, 4)
    wait_until(lambda: counts(store).get("running") == 40)
    wait_until(lambda: log.exists() and log.read_text().count("act 0") == 4)
    answer = acme.post("/v1/simulations/cancel", {"study_id": str(long)}).json()
    at_answer = interaction_count(store)
    assert answer["summary"] == {"total": 36, "cancelled_count": 36, "skipped_count": 0}
    assert counts(store) == {"completed": 13, "cancelled": 36, "running": 4}
    # A step in flight is aborted.
    acme.post("/v1/simulations/cancel", {"study_id": str(stuck)})
    wait_until(lambda: log.read_text().count("aborted 0") == 4, 5)
    wait_until(lambda: all(row.stopped_at for row in load_rows(store) if row.status == "cancelled"))
    assert interaction_count(store) == at_answer

    # A signal handler that waits for a lock of the thread that it interrupts would hang.
    for process in processes * 20:
        if process.popen.poll() is None:
            process.popen.send_signal(signal.SIGTERM)
    # An interpreter that is about to end has no handlers any more: the signal itself may end it.
    assert {process.popen.wait(30) for process in processes} <= {0, -signal.SIGTERM}


def interaction_count(store: Store) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(Tables.interaction)) or 0


def test_a_participant_cancelled_while_pending_never_starts(
    store: Store, acme: ApiClient, fleet: Fleet, settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "steps.log"
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.3, "log": str(log)})
    other, _ = make_study(store, acme.workspace_id)

    def cancel() -> None:
        answer = acme.post("/v1/simulations/cancel", {"study_id": str(study)}).json()
        assert answer["summary"]["cancelled_count"] == 2

    def check_none_starts() -> None:
        """Runs another study, which follows in the same queue."""
        ids = dispatch_participants(acme, other, 4)
        assert acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 30}).json()["ok"]
        assert log.read_text().count("open") == 1
        wait_until(lambda: all(row.stopped_at for row in load_rows(store, study)))
        assert {row.status for row in load_rows(store, study)} == {"cancelled"}

    # The worker is busy with the first participant and ends; the second one waits.
    (worker,) = fleet.start("run-1", concurrency=1)
    dispatch_participants(acme, study, 2, max_interactions=50)
    wait_until(lambda: counts(store).get("running") == 1)
    wait_until(log.exists)
    cancel()
    worker.stop()
    # No worker is up.
    dispatch_participants(acme, study, 2)
    cancel()
    (worker, *_) = fleet.start("run-2", "control", "sweeper")
    check_none_starts()
    # The broker loses the messages.
    worker.stop()
    dispatch_participants(acme, study, 2)
    cancel()
    empty(settings.broker_url)
    fleet.start("run-3")
    check_none_starts()


def test_a_worker_that_was_frozen_past_its_lease_writes_nothing(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    frozen, _ = fleet.start("run-1", "sweeper")
    dispatch_participants(acme, study, 4, max_interactions=10)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store)))
    frozen.popen.send_signal(signal.SIGSTOP)
    wait_until(lambda: counts(store).get("pending") == 4)
    fleet.start("run-2")
    wait_until(lambda: all(row.epoch >= 2 for row in load_rows(store)))
    frozen.popen.send_signal(signal.SIGCONT)
    # The store fixture checks the invariants afterwards: they would show two writers.
    wait_until(lambda: all_terminal(store), 40)
    assert counts(store) == {"completed": 4}


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_each_kind_of_worker_is_alive_until_it_stops(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    def alive() -> dict[str, int]:
        kinds: dict[str, int] = acme.get("/readyz").json()["worker_kinds"]
        return kinds

    # No lease expires while the machine is busy.
    fleet.settings = fleet.settings.model_copy(update={"lease_ttl_s": 30})
    _, alone, control = fleet.start("run-1", "alone", "control", concurrency=7)
    assert alive() == {"run": 1, "quarantine": 1, "control": 1}
    with store.read() as connection:
        lease = Tables.lease.c
        rows = connection.execute(select(lease.kind, lease.slots).order_by(lease.kind)).all()
    assert list(map(tuple, rows)) == [("alone", 1), ("control", CONTROL_CONCURRENCY), ("run", 7)]
    # Heartbeats renew them.
    first = {row.id: row.expires_at for row in _leases(store)}
    wait_until(lambda: all(row.expires_at > first[row.id] for row in _leases(store)))
    assert (alone.stop(), control.stop()) == (0, 0)
    assert alive() == {"run": 1, "quarantine": 0, "control": 0}


def _leases(store: Store) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(Tables.lease)))
