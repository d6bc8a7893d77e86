"""Reading participants for those who wait for them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event

from shared.store import lifecycle, participants
from shared.store.engine import Store
from tests.factories import make_participants, make_study, make_workspace


def test_who_waits_for_many_reads_a_few_of_them_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participants, "_LOOK", 2)
    workspace = make_workspace(store).workspace_id
    study, (iteration,) = make_study(store, workspace)
    ids = make_participants(store, workspace, study, iteration, 7)
    statements: list[Any] = []

    def look(asked: Sequence[UUID]) -> Sequence[UUID]:
        statements.clear()
        with store.read() as connection:
            # SQLite's own BEGIN is not one of them.
            connection.begin()
            event.listen(connection, "before_cursor_execute", lambda *told: statements.append(told[2]))
            return participants.without_finished(connection, workspace, asked)

    def cancel(*some: UUID) -> None:
        def work(connection: Connection) -> None:
            lifecycle.cancel(connection, workspace, some)

        store.write(work)

    assert look(ids) == ids
    assert len(statements) == 1
    cancel(ids[0], ids[5])
    left = look(ids)
    assert (left, len(statements)) == (ids[1:], 1)
    cancel(*ids[1:4])
    left = look(left)
    assert (left, len(statements)) == (ids[4:], 2)
    cancel(ids[4], ids[6])
    assert (look(left), len(statements)) == ([], 2)
