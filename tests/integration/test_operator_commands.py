"""An operator's orders, carried out in this process: a revoke is a cancel, with its event."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery.worker.control import Panel
from celery.worker.state import revoked
from sqlalchemy import select

from tests.factories import make_lease, make_participants, make_study, make_workspace
from tests.servers import wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.queues import parse_participant_id, task_id
from understudy.queue.celery.app import create_celery
from understudy.queue.celery.control_commands import UNSUPPORTED, install_control_commands
from understudy.queue.names import ALREADY_CANCELLED
from understudy.queue.notifications import Notifier
from understudy.settings import Settings
from understudy.store import guards, lifecycle
from understudy.store.engine import Store
from understudy.store.schema import Tables
from understudy.worker.operator_commands import OperatorCommands


class Desk:
    """Somebody who takes orders, and what came of them."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.store = store
        self.aborted: list[UUID] = []
        self.left = 0
        self.notifier = Notifier(settings.notifications_url)
        self.orders = OperatorCommands(store, self.notifier, self.aborted.extend)
        self.workspace_id = make_workspace(store).workspace_id

    def close(self) -> None:
        self.orders.close()
        self.notifier.close()

    def leave(self) -> None:
        self.left += 1

    def participants(self, count: int) -> list[UUID]:
        study, (iteration,) = make_study(self.store, self.workspace_id)
        return make_participants(self.store, self.workspace_id, study, iteration, count)

    def rows(self, ids: list[UUID]) -> list[Any]:
        participant = Tables.participant
        with self.store.read() as connection:
            found = {row.id: row for row in connection.execute(select(participant))}
        return [found[id_] for id_ in ids]


@pytest.fixture
def desk(settings: Settings, store: Store) -> Iterator[Desk]:
    made = Desk(settings, store)
    yield made
    made.close()


def test_a_revoke_cancels_who_waits_and_who_runs_and_nobody_else(desk: Desk) -> None:
    waiting, running, done, _ = ids = desk.participants(4)
    worker = make_lease(desk.store)
    for id_ in (running, done):
        desk.store.write(lambda connection, id_=id_: lifecycle.claim(connection, id_, worker))
    held = guards.Claim(done, 1)
    desk.store.write(lambda connection: lifecycle.complete(connection, held, None, 0))
    # Whichever of its messages: the latest may be one that nobody has seen yet.
    desk.orders.cancel([task_id(waiting, 1), task_id(running, 7), task_id(done, 1), task_id(uuid4(), 1)])
    wait_until(lambda: set(desk.aborted) >= {waiting, running})
    rows = desk.rows(ids)
    assert [row.status for row in rows] == ["cancelled", "cancelled", "completed", "pending"]
    # Nobody runs the one; the run of the other records its own stop.
    assert [row.stopped_at is not None for row in rows] == [True, False, False, False]


@pytest.mark.parametrize("wrong", ["", "celery", "{id}", "{id}.1.stop", "{id}.x", "{ID}.1", "{id}.1\n"])
def test_what_is_no_run_message_is_nobodys(wrong: str) -> None:
    id_ = uuid4()
    assert parse_participant_id(wrong.format(id=id_, ID=str(id_).upper())) is None
    assert parse_participant_id(task_id(id_, 12)) == id_


def test_all_workers_get_an_order_and_one_of_them_cancels(desk: Desk) -> None:
    ids = desk.participants(20)
    orders = [OperatorCommands(desk.store, desk.notifier, lambda _: None) for _ in range(3)]
    for one in orders:
        one.cancel(task_id(id_, 1) for id_ in ids)
    for one in orders:
        one.close()
    # The invariants, checked when the test is through, would show an event too many.
    assert {row.status for row in desk.rows(ids)} == {"cancelled"}


def test_an_order_waits_for_a_store_that_is_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = desk.participants(1)
    asked = threading.Event()

    def away(_: object) -> None:
        asked.set()
        raise ServiceUnavailable("The store is away.")

    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "write", away)
        desk.orders.cancel([task_id(id_, 1)])
        assert asked.wait(20)
    wait_until(lambda: desk.rows([id_])[0].status == "cancelled")


def test_commands_are_taken_for_what_they_should_mean_here(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Panel, "data", dict(Panel.data))
    monkeypatch.setattr(Panel, "meta", dict(Panel.meta))
    install_control_commands(desk.orders.cancel, desk.leave)
    celery = create_celery("redis://127.0.0.1:9/0")
    state = SimpleNamespace(app=celery, tset=set)
    ids = desk.participants(5)
    one, several, terminated, flagged, waiting = (task_id(id_, 1) for id_ in ids)
    Panel.data["revoke"](state, one, terminate=False, signal="SIGTERM")
    Panel.data["revoke"](state, [several], terminate=True, signal="SIGKILL")
    # What a stop task sends: its participant is cancelled already. Orders are carried out in turn, so had it
    # been one, it would be done when the next is.
    Panel.data["revoke"](state, flagged, **{ALREADY_CANCELLED: True})
    Panel.data["terminate"](state, "SIGTERM", terminated)
    wait_until(lambda: [row.status for row in desk.rows(ids[:3])] == ["cancelled"] * 3)
    assert [row.status for row in desk.rows(ids[3:])] == ["pending"] * 2
    assert {one, several, terminated, flagged} <= set(revoked)
    assert waiting not in revoked
    Panel.data["shutdown"](state)
    assert desk.left == 1
    for name, instead in UNSUPPORTED.items():
        assert instead in Panel.data[name](state, n=1)["error"]
