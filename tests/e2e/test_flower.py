"""Flower as a process: what it shows over HTTP, what it keeps, and what its buttons do."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dedicated_brokers import depth
from tests.e2e.flower import Flower
from tests.e2e.participants import counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import ROOT, Fleet, wait_until
from understudy.domain.queues import Queue
from understudy.queue.celery.app import create_celery
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_revoke_cancels_pending_and_running_participants_and_a_shutdown_drains(
    store: Store, acme: ApiClient, fleet: Fleet, flower: Callable[..., Flower]
) -> None:
    shown = flower()
    (worker,) = fleet.start("run-1", concurrency=3)
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 600})
    dispatch_participants(acme, study, 6)
    wait_until(lambda: counts(store) == {"running": 3, "pending": 3})
    waiting = [str(row.id) for row in load_rows(store) if row.status == "pending"]
    running = [str(row.id) for row in load_rows(store) if row.status == "running"]
    terminated, revoked, aborted = running

    def status(*ids: str) -> set[str]:
        return {row.status for row in load_rows(store) if str(row.id) in ids}

    # The search finds aliases.
    alias = next(row.alias for row in load_rows(store) if str(row.id) == revoked)
    wait_until(
        lambda: [(one["name"], one["state"]) for one in shown.tasks(alias).values()] == [("simulation.run", "STARTED")]
    )
    study_alias = acme.get(f"/v1/studies/{study}").json()["alias"]
    started = {f"{id_}.1" for id_ in running}
    wait_until(lambda: set(shown.tasks(f"args:{study_alias} state:STARTED")) == started)
    assert set(shown.tasks(f"args:{study_alias} state:PENDING")) == {f"{id_}.1" for id_ in waiting}

    # No worker has received this one.
    assert shown.press(f"task/revoke/{waiting[0]}.1").is_success
    wait_until(lambda: status(waiting[0]) == {"cancelled"})
    assert status(*waiting[1:]) == {"pending"}
    assert shown.press(f"task/revoke/{terminated}.1", terminate=True).is_success
    assert shown.press(f"task/revoke/{revoked}.1").is_success
    assert shown.press(f"task/abort/{aborted}.1").is_success
    stopped = [*running, waiting[0]]
    answer = acme.post("/v1/simulations/wait", {"participant_ids": stopped, "timeout": 60}).json()
    assert [one["status"] for one in answer["participants"]] == ["cancelled"] * 4
    # Pending ones take the free slots.
    wait_until(lambda: counts(store) == {"cancelled": 4, "running": 2})
    wait_until(lambda: all(row.stopped_at for row in load_rows(store) if row.status == "cancelled"))
    gone = {f"{id_}.1" for id_ in stopped}
    wait_until(lambda: set(shown.tasks(f"args:{study_alias} state:REVOKED")) == gone)

    # Of a worker's buttons, only the shutdown has a meaning here.
    refused = shown.press("worker/pool/grow/" + _name(shown), n=2)
    assert (refused.status_code, "--concurrency" in refused.text) == (403, True)
    assert shown.press("worker/shutdown/" + _name(shown)).is_success
    assert worker.popen.wait(30) == 0
    assert counts(store) == {"cancelled": 4, "pending": 2}
    # Flower shows what the worker released while it drained: nothing seems to run there.
    wait_until(lambda: _results(shown, study_alias) - {("PENDING", None)} == {("REVOKED", None), ("RETRY", None)})
    assert {row.attempt for row in load_rows(store)} == {0}


def _results(shown: Flower, search: str) -> set[tuple[str, str | None]]:
    return {(one["state"], one["result"]) for one in shown.tasks(f"args:{search}").values()}


def _name(shown: Flower) -> str:
    """Returns the name of the one worker that it shows."""
    names: list[str] = []

    def is_shown() -> bool:
        # A busy worker answers Flower's question too late.
        names[:] = shown.http.get("/api/workers", params={"refresh": 1}).json()
        return bool(names)

    wait_until(is_shown)
    (name,) = names
    return name


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_flower_keeps_its_messages_when_it_is_killed(settings: Settings, flower: Callable[..., Flower]) -> None:
    first = flower(state_save_interval=100)
    seen = {"uuid": "5b6.1", "name": "simulation.run", "args": "participant=t-5b6 study=s-b94", "kwargs": ""}

    def send_and_look() -> bool:
        # Flower receives nothing until it listens.
        with create_celery(settings.broker_url) as app, app.events.default_dispatcher() as events:
            events.send("task-received", **seen)
        return "5b6.1" in first.tasks("t-5b6")

    wait_until(send_and_look)

    def saved() -> list[Path]:
        # While Flower writes it, the file is called `flower.db.tmp…`.
        return [file for file in settings.data_dir.glob("flower.db*") if ".tmp" not in file.name]

    wait_until(lambda: any(b"t-5b6" in file.read_bytes() for file in saved()))
    first.end(signal.SIGKILL)
    assert set(flower().tasks("t-5b6")) == {"5b6.1"}


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_celery_command_starts_no_worker_and_reaches_ours(
    store: Store, acme: ApiClient, fleet: Fleet, settings: Settings
) -> None:
    def celery(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "celery", "--app", "understudy.worker.app", *arguments]
        environment = os.environ | {"UNDERSTUDY_BROKER_URL": settings.broker_url}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    study, _ = make_study(store, acme.workspace_id)
    dispatch_participants(acme, study, 2)
    wait_until(lambda: depth(settings.broker_url, Queue.RUNS) == 2)
    refused = celery("worker", "--concurrency=1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "Start workers with `understudy worker`; a plain Celery worker would discard run messages.\n"
    )
    assert depth(settings.broker_url, Queue.RUNS) == 2
    fleet.start("run-1")
    wait_until(lambda: counts(store) == {"completed": 2})
    for arguments in (["status"], ["inspect", "ping"], ["inspect", "active"], ["control", "enable_events"]):
        asked = celery(*arguments)
        assert (asked.returncode, "run-1@" in asked.stdout) == (0, True), asked
