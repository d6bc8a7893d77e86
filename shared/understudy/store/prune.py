"""Deletes participants that ended long ago, for good; nothing else deletes any part of a run.

A participant is deleted with its interactions, checkpoint, events and usage. It is kept, however old, while a
kept child continues from it, an ask needs it, or work on it is pending.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, tuple_

from understudy.domain.lifecycle import TERMINAL, Status
from understudy.store import bulk_parameters, quotas
from understudy.store.engine import AnyRow
from understudy.store.schema import Tables

_p = Tables.participant
_event = Tables.event
_ask = Tables.ask

#: In order of deletion: rows that refer to a participant go before it.
_OWNED_TABLES = (Tables.event, Tables.usage, Tables.checkpoint, Tables.interaction)
#: Approximate maximum rows, of all tables, that one transaction deletes; it never splits a participant.
MAX_ROWS = 20_000


class KeepReason(StrEnum):
    """Why a participant that ended long ago is kept."""

    #: A kept participant was extended from it.
    EXTENDED = "extended"
    #: It is in round 1 of an ask that is partly kept: later rounds ask the same people.
    ASKED = "asked"
    #: Its stop is not recorded yet, or one of its events has no position yet.
    OWED = "owed"
    #: It has its workspace's newest event: positions continue from there.
    NEWEST = "newest"
    #: Another transaction has locked it, for instance an extend.
    BUSY = "busy"


class Pruned(NamedTuple):
    """The result of pruning some participants that ended long ago."""

    removed: list[UUID]
    #: Deleted rows, by table.
    rows: Counter[str]
    kept: Counter[KeepReason]


class RetentionFilter(NamedTuple):
    """Selects the participants of one workspace that ended before a moment."""

    workspace_id: UUID
    ended_before: datetime

    def where(self) -> ColumnElement[bool]:
        return and_(
            _p.c.workspace_id == self.workspace_id,
            _p.c.status.in_([str(status) for status in sorted(TERMINAL)]),
            _p.c.finished_at < self.ended_before,
        )


def expired_participants(
    connection: Connection, old: RetentionFilter, before: AnyRow | None, limit: int
) -> Sequence[AnyRow]:
    """Returns up to `limit` of them that are older than `before`, newest first: `(created_at, id, ask_id,
    is_panel, weight)`. So each source comes after its children."""
    panel = and_(_p.c.round == 1, _p.c.extended_from.is_(None))
    weight = _p.c.seq + _p.c.interaction_count - _p.c.branched_at
    statement = select(_p.c.created_at, _p.c.id, _p.c.ask_id, panel.label("is_panel"), weight.label("weight")).where(
        old.where(), _p.c.created_at < old.ended_before
    )
    if before is not None:
        cursor = tuple_(before.created_at, before.id)
        statement = statement.where(tuple_(_p.c.created_at, _p.c.id) < cursor)
    order = (_p.c.created_at.desc(), _p.c.id.desc())
    return connection.execute(statement.order_by(*order).limit(limit)).all()


def batch_by_rows(rows: Sequence[AnyRow]) -> Iterator[list[UUID]]:
    """Yields their ids in batches of about MAX_ROWS rows to be deleted."""
    batch: list[UUID] = []
    weight = 0
    for row in rows:
        batch.append(row.id)
        weight += row.weight
        if weight >= MAX_ROWS:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def prune(
    connection: Connection,
    old: RetentionFilter,
    ids: Sequence[UUID],
    removed_ids: Collection[UUID],
    *,
    dry_run: bool,
) -> Pruned:
    """Deletes the `ids` that no KeepReason keeps; repeatable. A concurrent extend keeps its source or fails.

    `dry_run` deletes nothing, and reports the result as if `removed_ids` were already deleted.
    """
    if not dry_run:
        # Before the participants, in the order of an extend.
        quotas.lock_use(connection, old.workspace_id)
    removable, kept = _select_prunable(connection, old, ids, removed_ids, dry=dry_run)
    return Pruned(removable, _remove(connection, old, removable, dry=dry_run), kept)


def prune_panel(
    connection: Connection, old: RetentionFilter, ask_id: UUID, gone: Collection[UUID], *, dry: bool
) -> Pruned:
    """Deletes all of an ask's round 1, or none: half of a panel could not be asked again. Repeatable.

    It deletes once nothing else of the ask is left. A concurrent new round waits and finds an empty panel, or
    comes first and keeps the panel. `gone` and `dry` are `removed_ids` and `dry_run` of `prune`.
    """
    if not dry:
        # Opening a round updates this row.
        connection.execute(select(_ask.c.id).where(_ask.c.id == ask_id).with_for_update())
        quotas.lock_use(connection, old.workspace_id)
    of_ask = _p.c.ask_id == ask_id
    is_panel = and_(_p.c.round == 1, _p.c.extended_from.is_(None))
    later = select(_p.c.id).where(of_ask, or_(_p.c.round > 1, _p.c.extended_from.is_not(None)))
    panel = connection.scalars(select(_p.c.id).where(of_ask, is_panel)).all()
    if any(id_ not in gone for id_ in connection.scalars(later)):
        ended = select(func.count()).where(of_ask, is_panel, old.where())
        return Pruned([], Counter(), Counter({KeepReason.ASKED: connection.scalar(ended) or 0}))
    removable, kept = _select_prunable(connection, old, panel, gone, dry=dry)
    if len(removable) < len(panel):
        return Pruned([], Counter(), kept + Counter({KeepReason.ASKED: len(removable)}))
    return Pruned(removable, _remove(connection, old, removable, dry=dry), kept)


def _select_prunable(
    connection: Connection, old: RetentionFilter, ids: Sequence[UUID], gone: Collection[UUID], *, dry: bool
) -> tuple[list[UUID], Counter[KeepReason]]:
    """Returns the deletable `ids` in their order, locked unless `dry`; and why the others are kept."""
    listed = bulk_parameters.in_parameter(connection.dialect.name, _p.c.id)
    params = {bulk_parameters.IDS_PARAM: ids}
    statement = select(_p.c.id, _p.c.extended_from, _p.c.status, _p.c.stopped_at).where(listed, old.where())
    # An extend locks its source, and a run its row. This statement waits for neither.
    locking = statement if dry else statement.order_by(_p.c.id).with_for_update(skip_locked=True)
    rows = {row.id: row for row in connection.execute(locking, params)}
    kept: Counter[KeepReason] = Counter()
    if len(rows) < len(ids) and not dry:
        kept[KeepReason.BUSY] = len(connection.execute(statement, params).all()) - len(rows)
    # Locked rows can be neither extended nor changed. Earlier changes are visible: each statement sees what
    # was committed when it began.
    children: dict[UUID, list[UUID]] = {}
    of_sources = bulk_parameters.in_parameter(connection.dialect.name, _p.c.extended_from)
    for child, source in connection.execute(select(_p.c.id, _p.c.extended_from).where(of_sources), params):
        if child not in gone:
            children.setdefault(source, []).append(child)
    kept_reasons = {id_: reason for id_, reason in _pending_work(connection, old, rows) if id_ in rows}
    # A kept participant keeps its source, and that source keeps its own.
    sources = {source for source, found in children.items() if any(child not in rows for child in found)}
    sources |= {rows[id_].extended_from for id_ in kept_reasons}
    while added := {id_ for id_ in sources if id_ in rows and id_ not in kept_reasons}:
        kept_reasons |= dict.fromkeys(added, KeepReason.EXTENDED)
        sources = {rows[id_].extended_from for id_ in added}
    kept.update(kept_reasons.values())
    return [id_ for id_ in ids if id_ in rows and id_ not in kept_reasons], kept


def _pending_work(
    connection: Connection, old: RetentionFilter, rows: dict[UUID, AnyRow]
) -> Iterator[tuple[UUID, KeepReason]]:
    newest = (
        select(_event.c.participant_id)
        .where(_event.c.workspace_id == old.workspace_id, _event.c.position.is_not(None))
        .order_by(_event.c.position.desc())
        .limit(1)
    )
    yield from ((id_, KeepReason.NEWEST) for id_ in connection.scalars(newest))
    for row in rows.values():
        if row.status == Status.CANCELLED and row.stopped_at is None:
            yield row.id, KeepReason.OWED
    requested = bulk_parameters.in_parameter(connection.dialect.name, _event.c.participant_id)
    waiting = select(_event.c.participant_id).where(requested, _event.c.position.is_(None)).distinct()
    for id_ in connection.scalars(waiting, {bulk_parameters.IDS_PARAM: list(rows)}):
        yield id_, KeepReason.OWED


def _remove(connection: Connection, old: RetentionFilter, ids: Sequence[UUID], *, dry: bool) -> Counter[str]:
    rows: Counter[str] = Counter()
    if not ids:
        return rows
    if not dry:
        of_ids = bulk_parameters.in_parameter(connection.dialect.name, _event.c.participant_id)
        quotas.release_bytes(connection, old.workspace_id, of_ids, {bulk_parameters.IDS_PARAM: ids})
    for table, column in (*((table, table.c.participant_id) for table in _OWNED_TABLES), (_p, _p.c.id)):
        requested: Any = bulk_parameters.in_parameter(connection.dialect.name, column)
        params = {bulk_parameters.IDS_PARAM: ids}
        if dry:
            counted = select(func.count()).select_from(table).where(requested)
            rows[table.name] = connection.scalar(counted, params) or 0
        else:
            rows[table.name] = connection.execute(delete(table).where(requested), params).rowcount
    return rows
