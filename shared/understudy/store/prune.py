"""Deletes participants that ended long ago, for good: for `understudy prune` and for the retention of workspaces.

A participant is deleted with its interactions, checkpoint, events and usage (`store.removal`). It is kept, however
old, while a kept child continues from it, an ask needs it, or work on it is pending.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true, tuple_, update

from understudy.domain.lifecycle import TERMINAL, Status
from understudy.store import bulk_parameters, removal
from understudy.store.engine import AnyRow, store_clock
from understudy.store.schema import Tables

_p = Tables.participant
_event = Tables.event
_outbox = Tables.outbox
_ask = Tables.ask


class KeepReason(StrEnum):
    """Why a participant that ended long ago is kept."""

    #: A kept participant was extended from it.
    EXTENDED = "extended"
    #: It is in round 1 of an ask that is partly kept: later rounds ask the same people.
    ASKED = "asked"
    #: Its stop is not recorded yet, or one of its events has no position yet.
    OWED = "owed"
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
    statement = select(
        _p.c.created_at, _p.c.id, _p.c.ask_id, panel.label("is_panel"), removal.weight.label("weight")
    ).where(old.where(), _p.c.created_at < old.ended_before)
    if before is not None:
        cursor = tuple_(before.created_at, before.id)
        statement = statement.where(tuple_(_p.c.created_at, _p.c.id) < cursor)
    order = (_p.c.created_at.desc(), _p.c.id.desc())
    return connection.execute(statement.order_by(*order).limit(limit)).all()


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
        removal.lock_for_removal(connection, old.workspace_id, ids)
    removable, kept = _select_prunable(connection, old, ids, removed_ids, dry=dry_run)
    return Pruned(removable, _remove(connection, old, removable, dry=dry_run), kept)


def prune_panel(
    connection: Connection, old: RetentionFilter, ask_id: UUID, gone: Collection[UUID], max_rows: int, *, dry: bool
) -> Pruned:
    """Deletes about `max_rows` rows of an ask's round 1, if all of that round can go; repeat until it removes nothing.

    Half of a panel could not be asked again, so the first call also ends the ask: it opens no further round. A
    concurrent new round waits and is refused, or comes first and keeps the panel. `gone` and `dry` are `removed_ids`
    and `dry_run` of `prune`.
    """
    if not dry:
        # Opening a round locks the workspace only after it has updated this row.
        connection.execute(select(_ask.c.id).where(_ask.c.id == ask_id).with_for_update())
        removal.lock_workspace(connection, old.workspace_id)
    panel = connection.execute(
        select(_p.c.id, removal.weight.label("weight")).where(
            _p.c.ask_id == ask_id, _p.c.round == 1, _p.c.extended_from.is_(None)
        )
    ).all()
    ids = [row.id for row in panel if row.id not in gone]
    if not ids:
        return Pruned([], Counter(), Counter())
    is_ended = connection.scalar(select(_ask.c.panel_removed_at).where(_ask.c.id == ask_id)) is not None
    if not is_ended and (kept := _reasons_for_panel(connection, old, ask_id, ids, gone)):
        return Pruned([], Counter(), kept)
    if dry:
        return Pruned(ids, _remove(connection, old, ids, dry=True), Counter())
    connection.execute(update(_ask).where(_ask.c.id == ask_id).values(panel_removed_at=store_clock()))
    # The next batch that is not kept: an extend may have come since the ask ended.
    total: Counter[KeepReason] = Counter()
    for batch in removal.batch_by_weight(panel, max_rows):
        removable, kept = _select_prunable(connection, old, batch, gone, dry=False)
        total += kept
        if removable:
            return Pruned(removable, _remove(connection, old, removable, dry=False), total)
    return Pruned([], Counter(), total)


def _reasons_for_panel(
    connection: Connection, old: RetentionFilter, ask_id: UUID, ids: Sequence[UUID], gone: Collection[UUID]
) -> Counter[KeepReason]:
    """Returns why the panel of an ask is kept; nothing if all of it can go."""
    is_panel = and_(_p.c.round == 1, _p.c.extended_from.is_(None))
    later = select(_p.c.id).where(_p.c.ask_id == ask_id, or_(_p.c.round > 1, _p.c.extended_from.is_not(None)))
    if any(id_ not in gone for id_ in connection.scalars(later)):
        ended = select(func.count()).where(_p.c.ask_id == ask_id, is_panel, old.where())
        return Counter({KeepReason.ASKED: connection.scalar(ended) or 0})
    removable, kept = _select_prunable(connection, old, ids, gone, dry=True)
    if len(removable) < len(ids):
        return kept + Counter({KeepReason.ASKED: len(removable)})
    return Counter()


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
    kept_reasons = dict(_pending_work(connection, rows))
    # A kept participant keeps its source, and that source keeps its own.
    sources = {source for source, found in children.items() if any(child not in rows for child in found)}
    sources |= {rows[id_].extended_from for id_ in kept_reasons}
    while added := {id_ for id_ in sources if id_ in rows and id_ not in kept_reasons}:
        kept_reasons |= dict.fromkeys(added, KeepReason.EXTENDED)
        sources = {rows[id_].extended_from for id_ in added}
    kept.update(kept_reasons.values())
    return [id_ for id_ in ids if id_ in rows and id_ not in kept_reasons], kept


def _pending_work(connection: Connection, rows: dict[UUID, AnyRow]) -> Iterator[tuple[UUID, KeepReason]]:
    for row in rows.values():
        if row.status == Status.CANCELLED and row.stopped_at is None:
            yield row.id, KeepReason.OWED
    for table, is_waiting in ((_event, _event.c.position.is_(None)), (_outbox, true())):
        requested = bulk_parameters.in_parameter(connection.dialect.name, table.c.participant_id)
        waiting = select(table.c.participant_id).where(requested, is_waiting).distinct()
        for id_ in connection.scalars(waiting, {bulk_parameters.IDS_PARAM: list(rows)}):
            yield id_, KeepReason.OWED


def _remove(connection: Connection, old: RetentionFilter, ids: Sequence[UUID], *, dry: bool) -> Counter[str]:
    if dry:
        return removal.count_rows(connection, ids)
    return removal.remove_participants(connection, old.workspace_id, ids)
