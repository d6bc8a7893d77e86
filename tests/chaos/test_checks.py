"""The checks of a chaos run find what they are for."""

from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

import pytest
from sqlalchemy import Connection, update

from tests.chaos.monitor import Monitor
from tests.chaos.void_messages import void_messages
from tests.factories import StudyStore
from understudy.domain.queues import Queue
from understudy.store.engine import Store
from understudy.store.schema import Tables


def test_monitor_pending_row_escapes_quarantine_is_a_problem_once(store: Store) -> None:
    study, monitor = StudyStore(store), Monitor(store)
    row = update(Tables.participant).where(Tables.participant.c.id == study.id_)
    monitor.look()
    assert monitor.problems == []
    study.write(Connection.execute, row.values(attempt=2))
    monitor.look()
    monitor.look()
    assert len(monitor.problems) == 1
    assert str(study.id_) in monitor.problems[0]
    study.write(Connection.execute, row.values(queue=str(Queue.QUARANTINE)))
    quarantined = Monitor(store)
    quarantined.look()
    assert quarantined.problems == []
    study.write(Connection.execute, row.values(attempt=0))


@pytest.mark.parametrize(
    ("sent", "incidents", "too_many"),
    [(2, [], False), (5, [], True), (5, [15.0, 18.0], False), (5, [500.0, 600.0], True), (20, [15.0, 18.0], True)],
)
def test_void_messages_more_than_the_incidents_explain_are_too_many(
    sent: int, incidents: list[float], too_many: bool
) -> None:
    """One participant that waited from second 10 to 20, then from 40 to 50."""
    statuses = {10: "pending", 20: "running", 40: "pending", 50: "running", 60: "completed"}
    events = [
        SimpleNamespace(kind="status", data={"status": status}, at=datetime.fromtimestamp(at, UTC))
        for at, status in statuses.items()
    ]
    found = void_messages(SimpleNamespace(id=uuid4(), dispatch_no=sent), events, incidents)
    assert (found.count, found.is_too_many) == (sent - 2, too_many)
