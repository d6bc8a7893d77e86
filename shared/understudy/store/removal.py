"""Deletes participants for good, with all rows that belong to them: for `delete`, `prune` and retention alike.

Kept are the usage of models, as sums of each day, and the position of the newest deleted event.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, update

from understudy.store import bulk_parameters, quotas, usage
from understudy.store.engine import AnyRow
from understudy.store.events import last_position
from understudy.store.schema import Tables

_p = Tables.participant
_event = Tables.event
_workspace = Tables.workspace

#: In order of deletion: rows that refer to a participant go before it.
_OWNED_TABLES = (Tables.outbox, Tables.event, Tables.usage, Tables.checkpoint, Tables.interaction)
#: Approximate number of rows that a participant's deletion deletes.
weight = _p.c.seq + _p.c.interaction_count - _p.c.branched_at


def lock_workspace(connection: Connection, workspace_id: UUID) -> None:
    """Locks the workspace, then its row in `quota_use`, in the order of what creates participants."""
    connection.execute(select(_workspace.c.id).where(_workspace.c.id == workspace_id).with_for_update(key_share=True))
    quotas.lock_use(connection, workspace_id)


def lock_for_removal(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> None:
    """Locks what a removal of these ended participants writes, the workspace only if it must: starts wait for it."""
    if _newest_participant(connection, workspace_id) in ids:
        lock_workspace(connection, workspace_id)
    else:
        quotas.lock_use(connection, workspace_id)


def _newest_participant(connection: Connection, workspace_id: UUID) -> UUID | None:
    """Returns the participant of the workspace's newest event."""
    positioned = (_event.c.workspace_id == workspace_id, _event.c.position.is_not(None))
    newest = select(_event.c.participant_id).where(*positioned).order_by(_event.c.position.desc()).limit(1)
    return connection.scalar(newest)


def batch_by_weight(rows: Sequence[AnyRow], max_rows: int) -> Iterator[list[UUID]]:
    """Yields the ids of `(id, weight)` in batches of about `max_rows` rows to be deleted; never splits one."""
    batch: list[UUID] = []
    weight_of_batch = 0
    for row in rows:
        batch.append(row.id)
        weight_of_batch += row.weight
        if weight_of_batch >= max_rows:
            yield batch
            batch, weight_of_batch = [], 0
    if batch:
        yield batch


def remove_participants(connection: Connection, workspace_id: UUID, ids: Sequence[UUID]) -> Counter[str]:
    """Deletes these participants of the workspace; returns the deleted rows by table. Repeatable.

    The caller has called a function above, and keeps those that a participant outside of `ids` continues from. Their
    events have positions, or the caller holds the sequencer's lock.
    """
    rows: Counter[str] = Counter()
    if not ids:
        return rows
    params = {bulk_parameters.IDS_PARAM: ids}
    measured = _listed(connection, _event.c.participant_id)
    quotas.release_bytes(connection, workspace_id, measured, params)
    usage.keep_sums(connection, ids)
    if _newest_participant(connection, workspace_id) in ids:
        # Later events continue from the deleted ones.
        newest = last_position(connection, workspace_id)
        connection.execute(update(_workspace).where(_workspace.c.id == workspace_id).values(last_position=newest))
    for table, column in _deleted_columns():
        rows[table.name] = connection.execute(delete(table).where(_listed(connection, column)), params).rowcount
    return rows


def count_rows(connection: Connection, ids: Sequence[UUID]) -> Counter[str]:
    """Returns the rows by table that `remove_participants` would delete."""
    rows: Counter[str] = Counter()
    for table, column in _deleted_columns() if ids else ():
        counted = select(func.count()).select_from(table).where(_listed(connection, column))
        rows[table.name] = connection.scalar(counted, {bulk_parameters.IDS_PARAM: ids}) or 0
    return rows


def _deleted_columns() -> Iterator[tuple[Any, Any]]:
    yield from ((table, table.c.participant_id) for table in _OWNED_TABLES)
    yield _p, _p.c.id


def _listed(connection: Connection, column: Any) -> Any:
    return bulk_parameters.in_parameter(connection.dialect.name, column)
