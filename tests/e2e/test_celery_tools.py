"""What the `celery` command and exporters tell of our workers."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.flower import Flower
from tests.e2e.participants import counts, dispatch_participants
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import ROOT, Fleet, wait_until
from understudy.domain.queues import QUEUE_PRIORITY, task_id
from understudy.queue.celery.app import create_celery
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture
def celery(settings: Settings) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the `celery` command."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "celery", "--app", "understudy.worker.app", *arguments]
        environment = os.environ | {"UNDERSTUDY_BROKER_URL": settings.broker_url}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_inspect_tells_the_figures_of_our_workers(
    store: Store,
    settings: Settings,
    acme: ApiClient,
    fleet: Fleet,
    celery: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    run, control = fleet.start("run-1", "control", concurrency=7)
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 600})
    participants = dispatch_participants(acme, study, 2)
    wait_until(lambda: counts(store) == {"running": 2})

    app = create_celery(settings.broker_url)

    def inspect(what: str) -> dict[str, Any]:
        # It ends with the answers of both workers.
        answers = getattr(app.control.inspect(timeout=30, limit=2), what)()
        return {name.partition("@")[0]: answer for name, answer in answers.items()}

    assert set(inspect("ping")) == {"run-1", "control"}
    stats = inspect("stats")
    pools = {name: one["pool"] for name, one in stats.items()}
    assert {name: pool["max-concurrency"] for name, pool in pools.items()} == {"run-1": 7, "control": 4}
    assert [pools["run-1"]["processes"], pools["control"]["processes"]] == [
        [stats["run-1"]["pid"]],
        [stats["control"]["pid"]],
    ]
    assert pools["run-1"]["running"] == 2
    active = inspect("active")
    assert {one["id"] for one in active["run-1"]} == {task_id(id_, 1) for id_ in participants}
    assert active["control"] == []
    assert inspect("reserved") == {"run-1": [], "control": []}
    assert inspect("registered") == {"run-1": ["simulation.run"], "control": ["simulation.stop"]}
    queues = {name: [queue["name"] for queue in one] for name, one in inspect("active_queues").items()}
    assert queues == {"run-1": list(QUEUE_PRIORITY), "control": ["control"]}
    for command in (["status"], ["report"], ["inspect", "stats"], ["inspect", "active"]):
        asked = celery(*command)
        assert (asked.returncode, "Traceback" in asked.stdout + asked.stderr) == (0, False), asked
    acme.post("/v1/simulations/cancel", {"study_id": str(study)})
    wait_until(lambda: all(one == [] for one in inspect("active").values()))
    assert run.popen.poll() is control.popen.poll() is None


def test_celery_result_tells_what_the_store_has(
    store: Store, acme: ApiClient, fleet: Fleet, celery: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    def study(**content: Any) -> Any:
        return make_study(store, acme.workspace_id, content=content)[0]

    unanswered = celery("result", task_id(uuid4(), 1))
    assert (unanswered.returncode, unanswered.stdout) == (1, "")
    assert unanswered.stderr.startswith("Error: no control worker answers")
    fleet.start("run-1", "control")
    (done,) = dispatch_participants(acme, study(at={"0": "finish"}), 1)
    (failed,) = dispatch_participants(acme, study(at={"0": "raise"}), 1)
    (running,) = dispatch_participants(acme, study(delay_s=600), 1)
    (cancelled,) = dispatch_participants(acme, study(delay_s=600), 1)
    wait_until(lambda: counts(store) == {"completed": 1, "failed": 1, "running": 2})
    acme.post("/v1/simulations/cancel", {"participant_id": cancelled})
    for id_, code, words in [
        (task_id(done, 1), 0, "completed after 1 interactions"),
        (task_id(failed, 1), 1, "Error: SimulatorError: simulator_error after 0 interactions"),
        (task_id(running, 1), 1, "Error: STARTED: running after 0 interactions"),
        (task_id(cancelled, 1), 1, "Error: TaskRevokedError: cancelled"),
        (task_id(uuid4(), 1), 1, "Error: UnknownParticipant"),
        ("no-id", 1, "Error: no-id is no id of a run message"),
    ]:
        asked = celery("result", id_)
        assert asked.returncode == code, asked
        assert (asked.stdout if code == 0 else asked.stderr).startswith(words), asked
        assert "Traceback" not in asked.stderr


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_messages_without_a_worker_are_shown_as_sent(
    store: Store, acme: ApiClient, flower: Callable[..., Flower]
) -> None:
    shown = flower()
    study, _ = make_study(store, acme.workspace_id)
    # Flower receives nothing until it listens.
    sent: list[str] = []

    def is_shown() -> bool:
        sent.extend(dispatch_participants(acme, study, 3))
        return bool(shown.tasks("name:simulation.run state:PENDING"))

    wait_until(is_shown)
    (one, *_) = shown.tasks("name:simulation.run state:PENDING").values()
    assert one["uuid"] in {task_id(id_, 1) for id_ in sent}
    assert one["args"].startswith("participant=t-")
    assert (one["routing_key"], one.get("worker")) == ("simulations", None)
