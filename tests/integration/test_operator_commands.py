"""Operator commands in one process: a revoke is a cancel, with its event."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from celery.worker.control import Panel
from celery.worker.state import revoked

from tests.factories import StudyStore
from tests.servers import wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.queues import parse_participant_id, task_id
from understudy.queue.celery.app import create_celery
from understudy.queue.celery.control_commands import UNSUPPORTED, install_control_commands
from understudy.queue.names import ALREADY_CANCELLED
from understudy.queue.notifications import Notifier
from understudy.settings import Settings
from understudy.store import lifecycle
from understudy.store.engine import Store
from understudy.worker.operator_commands import OperatorCommands


class Operator(StudyStore):
    """Operator commands on a store, with their effects."""

    def __init__(self, settings: Settings, store: Store) -> None:
        super().__init__(store)
        self.aborted: list[UUID] = []
        self.shutdowns = 0
        self.notifier = Notifier(settings.notifications_url)
        self.commands = OperatorCommands(store, self.notifier, self.aborted.extend)

    def close(self) -> None:
        self.commands.close()
        self.notifier.close()

    def shut_down(self) -> None:
        self.shutdowns += 1

    def statuses(self, ids: list[UUID]) -> list[str]:
        return [self.row(id_).status for id_ in ids]


@pytest.fixture
def operator(settings: Settings, store: Store) -> Iterator[Operator]:
    made = Operator(settings, store)
    yield made
    made.close()


def test_revoke_cancels_exactly_its_active_participants(operator: Operator) -> None:
    waiting, running, done, _ = ids = operator.participants(4)
    operator.must_claim(running)
    operator.write(lifecycle.complete, operator.must_claim(done), None, 0)
    # Any message of a participant counts: the latest one may be unknown to Flower.
    operator.commands.cancel([task_id(waiting, 1), task_id(running, 7), task_id(done, 1), task_id(uuid4(), 1)])
    wait_until(lambda: set(operator.aborted) >= {waiting, running})
    assert operator.statuses(ids) == ["cancelled", "cancelled", "completed", "pending"]
    # The running participant's own run records its stop.
    assert [operator.row(id_).stopped_at is not None for id_ in ids] == [True, False, False, False]


@pytest.mark.parametrize("wrong", ["", "celery", "{id}", "{id}.1.stop", "{id}.x", "{ID}.1", "{id}.1\n"])
def test_id_of_another_message_is_no_participant_id(wrong: str) -> None:
    id_ = uuid4()
    assert parse_participant_id(wrong.format(id=id_, ID=str(id_).upper())) is None
    assert parse_participant_id(task_id(id_, 12)) == id_


def test_same_command_in_all_workers_cancels_once(operator: Operator) -> None:
    ids = operator.participants(20)
    several = [OperatorCommands(operator.store, operator.notifier, lambda _: None) for _ in range(3)]
    for one in several:
        one.cancel(task_id(id_, 1) for id_ in ids)
    for one in several:
        one.close()
    # The invariants that the store fixture checks would show a second event.
    assert set(operator.statuses(ids)) == {"cancelled"}


def test_command_waits_for_an_unavailable_store(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = operator.participants()
    asked = threading.Event()

    def fail(_: object) -> None:
        asked.set()
        raise ServiceUnavailable("The store is unavailable.")

    with monkeypatch.context() as patch:
        patch.setattr(operator.store, "write", fail)
        operator.commands.cancel([task_id(id_, 1)])
        assert asked.wait(20)
    wait_until(lambda: operator.row(id_).status == "cancelled")


def test_control_commands_of_celery_have_their_meaning_here(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Panel, "data", dict(Panel.data))
    monkeypatch.setattr(Panel, "meta", dict(Panel.meta))
    install_control_commands(operator.commands.cancel, operator.shut_down)
    celery = create_celery("redis://127.0.0.1:9/0")
    state = SimpleNamespace(app=celery, tset=set)
    ids = operator.participants(5)
    one, several, terminated, flagged, waiting = (task_id(id_, 1) for id_ in ids)
    Panel.data["revoke"](state, one, terminate=False, signal="SIGTERM")
    Panel.data["revoke"](state, [several], terminate=True, signal="SIGKILL")
    # As a stop task sends it: its participant is cancelled already. Commands are carried out in turn, so a
    # wrong cancel would be visible once the next command is done.
    Panel.data["revoke"](state, flagged, **{ALREADY_CANCELLED: True})
    Panel.data["terminate"](state, "SIGTERM", terminated)
    wait_until(lambda: operator.statuses(ids[:3]) == ["cancelled"] * 3)
    assert operator.statuses(ids[3:]) == ["pending"] * 2
    assert {one, several, terminated, flagged} <= set(revoked)
    assert waiting not in revoked
    Panel.data["shutdown"](state)
    assert operator.shutdowns == 1
    errors = {name: Panel.data[name](state, n=1)["error"] for name in UNSUPPORTED}
    assert [name for name, instead in UNSUPPORTED.items() if instead not in errors[name]] == []
