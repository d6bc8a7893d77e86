"""Metrics and logs of a fleet."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from tests.contract.test_metrics import Series, at, read
from tests.e2e.participants import counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, Process, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store


def lines(process: Process) -> list[dict[str, Any]]:
    """Returns its log, which has only lines of JSON."""
    return [json.loads(line) for line in process.log.read_text().splitlines()]


def metrics_of(process: Process) -> Series:
    """Reads its metrics at the address in its log."""
    (url,) = re.findall(r"metrics at (\S+/metrics)", process.log.read_text())
    return read(url)


def total(processes: list[Process], name: str, **labels: str) -> float:
    return sum(at(metrics_of(process), name, **labels) for process in processes)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_the_metrics_and_logs_of_a_fleet_report_its_work(
    store: Store, acme: ApiClient, fleet: Fleet, settings: Settings, tmp_path: Path
) -> None:
    port = {"UNDERSTUDY_METRICS_PORT": "0"}
    one, other, control, sweeper = fleet.start("run-1", "run-2", "control", "sweeper", concurrency=3, **port)
    workers = [one, other]
    assert total(workers, "run_slots", kind="run") == 6
    assert all(at(metrics_of(worker), "lease_seconds") > 0 for worker in workers)

    # Completed and failed participants.
    study, _ = make_study(store, acme.workspace_id)
    ids = dispatch_participants(acme, study, 8)
    broken, _ = make_study(store, acme.workspace_id, content={"at": {"1": "raise"}})
    acme.http.headers["X-Request-ID"] = "who-asked"
    ids += dispatch_participants(acme, broken, 2)
    del acme.http.headers["X-Request-ID"]
    assert acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 60}).json()["ok"]
    assert counts(store) == {"completed": 8, "failed": 2}
    stored = sum(row.interaction_count for row in load_rows(store))
    wait_until(lambda: total(workers, "commits_total", result="stored") == stored)
    wait_until(lambda: total(workers, "runs_total", ending="ended") == 10)
    assert total(workers, "claims_total", result="claimed") == 10
    ended = "participants_ended_total"
    assert total(workers, ended, status="completed", reason="cap_reached") == 8
    assert total(workers, ended, status="failed", reason="simulator_error") == 2
    steps = ("step_seconds_count", frozenset({("environment", "scripted"), ("mind", "scripted")}))
    assert sum(metrics_of(worker).get(steps, 0) for worker in workers) == stored

    # Cancelled and lost participants.
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 600})
    dispatch_participants(acme, study, 6)
    wait_until(lambda: counts(store).get("running") == 6)
    assert total(workers, "runs", kind="run") == 6
    of_api = read(f"{acme.api}/metrics")
    assert (at(of_api, "participants", status="running"), at(of_api, "workers")) == (6, 2)
    one.popen.send_signal(signal.SIGKILL)
    one.popen.wait()
    lost = 6 - at(metrics_of(other), "runs", kind="run")
    wait_until(lambda: at(metrics_of(sweeper), "recovered_total", result="resumed") == lost)
    acme.post("/v1/simulations/cancel", {"study_id": str(study)})
    wait_until(lambda: at(metrics_of(other), "stop_seconds_count", by="run") == 6 - lost)
    assert at(metrics_of(other), "abort_seconds_count") == 6 - lost
    stopped_s = at(metrics_of(other), "stop_seconds_sum", by="run")
    assert 0 < at(metrics_of(other), "abort_seconds_sum") <= stopped_s
    wait_until(lambda: all(row.stopped_at for row in load_rows(store) if row.status == "cancelled"))
    assert at(metrics_of(control), "stop_seconds_count", by="stop_task") <= lost
    assert at(metrics_of(sweeper), "last_sweep_timestamp_seconds", work="recover") > 0
    assert at(metrics_of(sweeper), "sweeps_total", work="recover", result="failed") == 0

    # The logs.
    failures = [line for worker in workers for line in lines(worker) if "failed in a step" in line["message"]]
    expected = {"study": str(broken), "epoch": "1", "attempt": "0", "part": "worker", "request_id": "who-asked"}
    assert [{name: line[name] for name in expected} for line in failures] == [expected] * 2
    assert all(line["task"] == f"{line['participant']}.1" and line["timestamp"] for line in failures), failures
    assert all("RuntimeError: the environment broke" in line["exception"] for line in failures), failures
    password = make_url(settings.broker_url).password
    assert password
    processes = (*workers, control, sweeper)
    assert all(lines(process) for process in processes)
    assert [process.name for process in processes if str(password) in process.log.read_text()] == []


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_an_answer_repeats_a_valid_request_id_and_otherwise_has_a_new_one(acme: ApiClient) -> None:
    def answered(given: str) -> str:
        headers = {"X-Request-ID": given.encode("latin-1")}
        return str(acme.http.get("/v1/studies", headers=headers).headers["X-Request-ID"])

    assert answered("from-a-proxy.1") == "from-a-proxy.1"
    invalid = ("with blanks", "x" * 65, "ä")
    assert [given for given in invalid if not re.fullmatch("[0-9a-f]{32}", answered(given))] == []
    assert httpx.get(f"{acme.api}/nowhere", trust_env=False).headers["X-Request-ID"]
