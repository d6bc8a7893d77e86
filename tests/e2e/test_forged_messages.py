"""Messages that somebody writes by hand start, stop and revive nothing."""

import os
import subprocess
import sys
from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.dedicated_brokers import depth
from tests.e2e.flower import Flower
from tests.e2e.participants import counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import ROOT, Fleet, wait_until
from understudy.domain.queues import Queue, stop_task_id, task_id
from understudy.queue.celery.app import create_celery
from understudy.queue.celery.tool_app import ToolApp
from understudy.queue.names import RUN_TASK, STOP_TASK
from understudy.settings import Settings
from understudy.store.engine import Store


def celery_call(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "celery", "--app", "understudy.worker.app", *arguments]
    environment = os.environ | {"UNDERSTUDY_BROKER_URL": settings.broker_url}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_tools_refuse_to_send_messages(
    store: Store, settings: Settings, acme: ApiClient, flower: Callable[..., Flower]
) -> None:
    shown = flower()
    study, _ = make_study(store, acme.workspace_id)
    assert acme.post(f"/v1/studies/{study}/pause").is_success
    (held,) = dispatch_participants(acme, study, 1)
    body = {"args": [held], "queue": str(Queue.RUNS)}
    sent = shown.http.post(f"/api/task/send-task/{RUN_TASK}", json=body)
    assert (sent.status_code, "understudy run" in sent.text) == (403, True)
    for how in ("apply", "async-apply"):
        for name in (RUN_TASK, STOP_TASK, "celery.backend_cleanup", "celery.chain"):
            assert shown.http.post(f"/api/task/{how}/{name}", json=body).status_code == 404
    called = celery_call(settings, "call", RUN_TASK, "--args", f'["{held}"]', "--queue", str(Queue.RUNS))
    assert (called.returncode, "understudy run" in called.stderr, "Traceback" in called.stderr) == (1, True, False)
    assert [depth(settings.broker_url, queue) for queue in Queue] == [0] * len(Queue)


def test_forged_messages_start_stop_and_revive_nothing(
    store: Store, settings: Settings, acme: ApiClient, fleet: Fleet
) -> None:
    workers = fleet.start("run-1", "control", "sweeper")
    ended, _ = make_study(store, acme.workspace_id)
    dispatch_participants(acme, ended, 1)
    wait_until(lambda: counts(store) == {"completed": 1})
    paused, _ = make_study(store, acme.workspace_id)
    assert acme.post(f"/v1/studies/{paused}/pause").is_success
    dispatch_participants(acme, paused, 1)
    running, _ = make_study(store, acme.workspace_id, content={"delay_s": 600})
    dispatch_participants(acme, running, 1)
    wait_until(lambda: counts(store) == {"completed": 1, "pending": 1, "running": 1})
    before = sorted((row.id, row.status, row.epoch, row.seq) for row in load_rows(store))
    with create_celery(settings.broker_url) as app:

        def send(name: str, id_: str, queue: Queue, *args: str) -> None:
            app.send_task(name, list(args), task_id=id_, queue=str(queue), ignore_result=True)

        for participant in [str(row.id) for row in load_rows(store)] + [str(uuid4())]:
            # As Celery numbers it, and as we do.
            for id_ in (str(uuid4()), task_id(participant, 1), task_id(participant, 7)):
                send(RUN_TASK, id_, Queue.RUNS, participant)
                send(STOP_TASK, stop_task_id(id_), Queue.CONTROL, participant, id_)
                send(STOP_TASK, str(uuid4()), Queue.CONTROL, participant, id_)
    wait_until(lambda: [depth(settings.broker_url, queue) for queue in (Queue.RUNS, Queue.CONTROL)] == [0, 0])
    assert sorted((row.id, row.status, row.epoch, row.seq) for row in load_rows(store)) == before
    assert acme.post(f"/v1/studies/{paused}/resume").is_success
    wait_until(lambda: counts(store) == {"completed": 2, "running": 1})
    # Its message was not revoked by the forged stop tasks: no second one was needed.
    assert {row.dispatch_no for row in load_rows(store) if row.study_id == paused} == {1}
    for worker in workers:
        assert worker.popen.poll() is None
        assert "Traceback" not in worker.log.read_text()


def test_app_of_tools_has_no_task() -> None:
    from understudy.worker.app import app

    assert isinstance(app, ToolApp)
    assert list(app.tasks) == []
