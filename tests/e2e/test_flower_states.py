"""The states that Flower shows of participants."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from tests.dedicated_brokers import depth
from tests.e2e.flower import Flower
from tests.e2e.participants import counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.domain.queues import Queue, task_id
from understudy.queue.celery.app import create_celery
from understudy.queue.names import RUN_TASK
from understudy.settings import Settings
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant

SECRET = "secret-words-of-a-site"


def shown_state(flower: Flower, id_: object, number: int = 1) -> tuple[Any, ...]:
    """Returns state, result, exception and traceback of a run message."""
    one = flower.tasks().get(task_id(id_, number), {})
    return one.get("state"), one.get("result"), one.get("exception"), one.get("traceback")


def send_again(settings: Settings, id_: object, number: int) -> None:
    """Delivers a run message once more, as a broker may do."""
    with create_celery(settings.broker_url) as app:
        app.send_task(RUN_TASK, [str(id_)], task_id=task_id(id_, number), queue=str(Queue.RUNS), ignore_result=True)


@pytest.fixture
def study_of(store: Store, acme: ApiClient) -> Callable[..., UUID]:
    return lambda **content: make_study(store, acme.workspace_id, content=content)[0]


def test_flower_shows_how_participants_ended_also_after_a_redelivery(
    store: Store,
    acme: ApiClient,
    fleet: Fleet,
    settings: Settings,
    flower: Callable[..., Flower],
    study_of: Callable[..., UUID],
) -> None:
    shown = flower()
    fleet.start("run-1", "control")
    (done,) = dispatch_participants(acme, study_of(at={"2": "give_up"}), 1)
    (failed,) = dispatch_participants(acme, study_of(at={"1": "raise"}, words=SECRET), 1)
    (cancelled,) = dispatch_participants(acme, study_of(delay_s=600), 1)
    wait_until(lambda: counts(store) == {"completed": 1, "failed": 1, "running": 1})
    assert acme.post("/v1/simulations/cancel", {"participant_id": cancelled}).is_success
    ends = {
        done: ("SUCCESS", "gave_up after 3 interactions", None, None),
        failed: ("FAILURE", None, "SimulatorError('simulator_error after 1 interactions')", None),
        cancelled: ("REVOKED", None, None, None),
    }

    def is_shown() -> bool:
        return all(shown_state(shown, id_)[:3] == end[:3] for id_, end in ends.items())

    wait_until(is_shown, what=f"Flower shows the ends: {[shown_state(shown, id_) for id_ in ends]}")
    everything = shown.http.get("/api/tasks").text
    assert "Traceback" not in everything
    assert SECRET not in everything
    # One stop task for the cancelled participant, and none for others; the name alone filters it away.
    wait_until(lambda: [one["state"] for one in shown.tasks("name:simulation.stop").values()] == ["SUCCESS"])
    assert set(shown.tasks("name:simulation.run")) == {task_id(id_, 1) for id_ in ends}
    # A message that is delivered again changes nothing of this.
    for id_ in ends:
        send_again(settings, id_, 1)
    wait_until(lambda: depth(settings.broker_url, Queue.RUNS) == 0)
    (last,) = dispatch_participants(acme, study_of(at={"0": "finish"}), 1)
    wait_until(lambda: shown_state(shown, last)[0] == "SUCCESS")
    assert is_shown()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_flower_shows_a_stale_message_as_a_retry(
    store: Store,
    acme: ApiClient,
    fleet: Fleet,
    settings: Settings,
    flower: Callable[..., Flower],
    study_of: Callable[..., UUID],
) -> None:
    shown = flower()
    fleet.start("run-1")
    (running,) = dispatch_participants(acme, study_of(delay_s=600), 1)
    wait_until(lambda: [row.status for row in load_rows(store)] == ["running"])
    # Delivered twice, the second message shows nothing: the participant runs with it.
    send_again(settings, running, 1)
    wait_until(lambda: depth(settings.broker_url, Queue.RUNS) == 0)
    (last,) = dispatch_participants(acme, study_of(at={"0": "finish"}), 1)
    wait_until(lambda: shown_state(shown, last)[0] == "SUCCESS")
    assert shown_state(shown, running)[0] == "STARTED"
    # After another publication it is stale.
    later = update(_p).where(_p.c.id == UUID(running)).values(dispatch_no=2)
    store.write(lambda connection: connection.execute(later))
    send_again(settings, running, 1)
    wait_until(lambda: shown_state(shown, running)[0] == "RETRY")
    assert f"replaced by {task_id(running, 2)}" in shown_state(shown, running)[2]


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_flower_shows_the_message_of_a_killed_worker_as_a_retry(
    store: Store, acme: ApiClient, fleet: Fleet, flower: Callable[..., Flower], study_of: Callable[..., UUID]
) -> None:
    shown = flower()
    lost, _ = fleet.start("run-1", "sweeper")
    (running,) = dispatch_participants(acme, study_of(delay_s=600), 1)
    wait_until(lambda: shown_state(shown, running)[0] == "STARTED")
    lost.popen.kill()
    fleet.start("run-2")

    def latest() -> int:
        return int(load_rows(store)[0].dispatch_no)

    wait_until(lambda: latest() > 1 and shown_state(shown, running, latest())[0] == "STARTED")
    wait_until(lambda: shown_state(shown, running, latest() - 1)[0] == "RETRY")
