"""The promises that rows alone can show; checked after each test that has a store.

docs/reliability.md has the numbers of the promises.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from understudy.domain.lifecycle import TERMINAL, FailureKind, Status
from understudy.domain.queues import QUARANTINE_ATTEMPT, Queue
from understudy.store.engine import Store
from understudy.store.schema import Tables


def check_invariants(store: Store) -> None:
    """Raises AssertionError that names a participant which breaks a promise."""
    with store.read() as connection:
        participants = {row.id: row for row in connection.execute(select(Tables.participant))}
        columns = (Tables.interaction.c.participant_id, Tables.interaction.c.ordinal, Tables.interaction.c.epoch)
        interactions = _by_participant(connection.execute(select(*columns).order_by(*columns)).all())
        events_by_id = _by_participant(all_events(connection))
        checkpoints = set(connection.scalars(select(Tables.checkpoint.c.participant_id)))
    for id_, row in participants.items():
        own, events = interactions[id_], events_by_id[id_]
        _check_interactions(row, own)
        _check_events(row, own, events)
        _check_positions(row, events)
        _check_attempt(row, events)
        _check_row(row)
        assert (id_ in checkpoints) == bool(own), f"{row.alias}: a checkpoint goes with own interactions"
        if row.extended_from is not None:
            _check_branch(row, participants[row.extended_from])


def all_events(connection: Connection) -> list[Any]:
    """All events in order of `seq`, with those of the outbox."""
    rows = [row for table in (Tables.event, Tables.outbox) for row in connection.execute(select(table))]
    return sorted(rows, key=lambda row: (row.participant_id, row.seq))


def _by_participant(rows: Sequence[Any]) -> dict[UUID, list[Any]]:
    grouped: dict[UUID, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[row.participant_id].append(row)
    return grouped


def _check_interactions(row: Any, own: list[Any]) -> None:
    expected = list(range(row.branched_at, row.interaction_count))
    assert [one.ordinal for one in own] == expected, f"{row.alias}: interactions without gap or double (P3)"
    epochs = [one.epoch for one in own]
    assert epochs == sorted(epochs), f"{row.alias}: epochs only rise (P3)"
    assert all(1 <= epoch <= row.epoch for epoch in epochs), f"{row.alias}: written by a claim that was made"
    assert row.interaction_count <= row.max_interactions, f"{row.alias}: never beyond its cap"


def _check_events(row: Any, own: list[Any], events: list[Any]) -> None:
    assert [one.seq for one in events] == list(range(1, row.seq + 1)), f"{row.alias}: one event per seq"
    steps = [one.data["index"] for one in events if one.kind == "interaction"]
    assert steps == [one.ordinal for one in own], f"{row.alias}: one event per interaction"
    statuses = [one.data["status"] for one in events if one.kind == "status"]
    assert statuses[-1] == row.status, f"{row.alias}: the last status event is the status"
    assert not any(status in TERMINAL for status in statuses[:-1]), f"{row.alias}: terminal is terminal (P1)"
    allowed = {
        (Status.DRAFT, Status.PENDING),
        (Status.DRAFT, Status.CANCELLED),
        (Status.PENDING, Status.RUNNING),
        (Status.PENDING, Status.CANCELLED),
        *((Status.RUNNING, after) for after in (Status.PENDING, *TERMINAL)),
    }
    assert all(pair in allowed for pair in pairwise(statuses)), f"{row.alias}: {statuses}"
    ends = [index for index, one in enumerate(events) if one.data.get("status") in TERMINAL]
    after_end = events[ends[0] + 1 :] if ends else []
    assert [one.kind for one in after_end] in ([], ["stopped"]), f"{row.alias}: nothing after the end (P2)"


def _check_positions(row: Any, events: list[Any]) -> None:
    there = [one for one in events if hasattr(one, "position")]
    assert there == events[: len(there)], f"{row.alias}: what is on its way is its last"
    given = [one.position for one in there if one.position is not None]
    assert given == sorted(set(given)), f"{row.alias}: positions rise with seq"
    assert all(one.position is not None for one in events[: len(given)]), f"{row.alias}: none was passed over"
    whose = {(one.workspace_id, one.study_id, one.ask_id) for one in events[: len(given)]}
    assert whose <= {(row.workspace_id, row.study_id, row.ask_id)}, f"{row.alias}: its events are found by it"


def _check_attempt(row: Any, events: list[Any]) -> None:
    losses = 0
    for one in events:
        lost = one.data.get("reason") == "lost" or one.data.get("error_kind") == FailureKind.STALE_WORKER
        losses = 0 if one.kind == "interaction" else losses + lost
    assert row.attempt == losses, f"{row.alias}: attempt = losses since its last interaction (P7)"


def _check_row(row: Any) -> None:
    assert (row.finished_at is not None) == (row.status in TERMINAL), f"{row.alias}: finished = terminal"
    assert (row.status == Status.FAILED) == (row.error_kind is not None), f"{row.alias}: error_kind = failed"
    assert row.outcome is None or row.status == Status.COMPLETED, f"{row.alias}: outcome only when completed"
    assert row.stopped_at is None or row.status == Status.CANCELLED, f"{row.alias}: stopped = cancelled"
    if row.status == Status.PENDING and row.attempt >= QUARANTINE_ATTEMPT:
        assert row.queue == Queue.QUARANTINE, f"{row.alias}: a pending row with two losses is in quarantine (P7)"
    assert row.status != Status.RUNNING or row.worker_id is not None, f"{row.alias}: somebody runs it"


def _check_branch(row: Any, source: Any) -> None:
    assert source.status in TERMINAL, f"{row.alias}: branched from a terminal source"
    assert row.branched_at == source.interaction_count, f"{row.alias}: branched at its source's last (P4)"
    assert row.workspace_id == source.workspace_id, f"{row.alias}: within its workspace (P8)"
