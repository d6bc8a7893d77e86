"""Removing what ended long ago, for good: the only place from which anything of a run is ever deleted.

A participant goes with all that is its own: interactions, checkpoint, events, usage. It stays, however old,
while somebody who stays goes on from it, while an ask needs it, and while something of it is still owed.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, tuple_

from understudy.domain.lifecycle import TERMINAL, Status
from understudy.store import bulk_parameters
from understudy.store.engine import AnyRow
from understudy.store.schema import Tables

_p = Tables.participant
_event = Tables.event
_ask = Tables.ask

#: In the order in which they are emptied; what points at a participant goes before it.
_OWNED_TABLES = (Tables.event, Tables.usage, Tables.checkpoint, Tables.interaction)
#: Rows of all tables that one transaction removes, as a rule: none of a few participants with long journeys.
MAX_ROWS = 20_000


class KeepReason(StrEnum):
    """Why somebody who ended long ago stays."""

    #: One that stays was extended from it.
    EXTENDED = "extended"
    #: It is of the first round of an ask of which something stays: later rounds ask the same people.
    ASKED = "asked"
    #: The stop of its run is not recorded yet, or an event of it has no position yet.
    OWED = "owed"
    #: Its workspace's newest event is its own: positions count on from there.
    NEWEST = "newest"
    #: Somebody else works on it just now, for instance an extend.
    BUSY = "busy"


class Pruned(NamedTuple):
    """What became of some who ended long ago."""

    removed: list[UUID]
    #: Rows that went, by table.
    rows: Counter[str]
    kept: Counter[KeepReason]


class RetentionFilter(NamedTuple):
    """Who has ended before a moment, in one workspace."""

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
    """Up to `limit` of them that are older than `before`, the youngest first: `(created_at, id, ask_id,
    is_panel, weight)`. So whoever was extended comes after those that go on from it."""
    panel = and_(_p.c.round == 1, _p.c.extended_from.is_(None))
    weight = _p.c.seq + _p.c.interaction_count - _p.c.branched_at
    statement = select(
        _p.c.created_at, _p.c.id, _p.c.ask_id, panel.label("is_panel"), weight.label("weight")
    ).where(old.where(), _p.c.created_at < old.ended_before)
    if before is not None:
        here = tuple_(before.created_at, before.id)
        statement = statement.where(tuple_(_p.c.created_at, _p.c.id) < here)
    order = (_p.c.created_at.desc(), _p.c.id.desc())
    return connection.execute(statement.order_by(*order).limit(limit)).all()


def batch_by_rows(rows: Sequence[AnyRow]) -> Iterator[list[UUID]]:
    """Their ids, in pieces of about ROWS rows to be removed."""
    piece: list[UUID] = []
    weight = 0
    for row in rows:
        piece.append(row.id)
        weight += row.weight
        if weight >= MAX_ROWS:
            yield piece
            piece, weight = [], 0
    if piece:
        yield piece


def prune(
    connection: Connection,
    old: RetentionFilter,
    ids: Sequence[UUID],
    removed_ids: Collection[UUID],
    *,
    dry_run: bool,
) -> Pruned:
    """Remove those of `ids` that may go. Who is extended meanwhile stays; or the extend finds no source.

    `dry_run`: only tell, as if `removed_ids` were gone already.
    """
    going, kept = _select_prunable(connection, old, ids, removed_ids, dry=dry_run)
    return Pruned(going, _remove(connection, going, dry=dry_run), kept)


def prune_panel(
    connection: Connection, old: RetentionFilter, ask_id: UUID, gone: Collection[UUID], *, dry: bool
) -> Pruned:
    """Remove everybody of an ask's first round, or nobody: half of them could not be asked again.

    They go once nothing else of the ask is left. A round that is opened at the same time waits, and finds
    nobody to ask; or it came first, and they stay. `dry_run` and `removed_ids` as in `prune`.
    """
    if not dry:
        # Whoever opens a round writes this row.
        connection.execute(select(_ask.c.id).where(_ask.c.id == ask_id).with_for_update())
    here = _p.c.ask_id == ask_id
    is_panel = and_(_p.c.round == 1, _p.c.extended_from.is_(None))
    later = select(_p.c.id).where(here, or_(_p.c.round > 1, _p.c.extended_from.is_not(None)))
    panel = connection.scalars(select(_p.c.id).where(here, is_panel)).all()
    if any(id_ not in gone for id_ in connection.scalars(later)):
        ended = select(func.count()).where(here, is_panel, old.where())
        return Pruned([], Counter(), Counter({KeepReason.ASKED: connection.scalar(ended) or 0}))
    going, kept = _select_prunable(connection, old, panel, gone, dry=dry)
    if len(going) < len(panel):
        return Pruned([], Counter(), kept + Counter({KeepReason.ASKED: len(going)}))
    return Pruned(going, _remove(connection, going, dry=dry), kept)


def _select_prunable(
    connection: Connection, old: RetentionFilter, ids: Sequence[UUID], gone: Collection[UUID], *, dry: bool
) -> tuple[list[UUID], Counter[KeepReason]]:
    """Returns the `ids` that may be deleted, locked unless `dry`, in the order given; and why others stay."""
    among = bulk_parameters.in_parameter(connection.dialect.name, _p.c.id)
    given = {bulk_parameters.IDS_PARAM: ids}
    statement = select(_p.c.id, _p.c.extended_from, _p.c.status, _p.c.stopped_at).where(among, old.where())
    # An extend holds its source, and a run its row. Neither is waited for.
    locking = statement if dry else statement.order_by(_p.c.id).with_for_update(skip_locked=True)
    rows = {row.id: row for row in connection.execute(locking, given)}
    kept: Counter[KeepReason] = Counter()
    if len(rows) < len(ids) and not dry:
        kept[KeepReason.BUSY] = len(connection.execute(statement, given).all()) - len(rows)
    # From here on these can be neither extended nor changed. What was done before is seen: each statement
    # sees what was committed when it began.
    children: dict[UUID, list[UUID]] = {}
    of_them = bulk_parameters.in_parameter(connection.dialect.name, _p.c.extended_from)
    for child, source in connection.execute(select(_p.c.id, _p.c.extended_from).where(of_them), given):
        if child not in gone:
            children.setdefault(source, []).append(child)
    staying = {id_: reason for id_, reason in _pending_work(connection, old, rows) if id_ in rows}
    # Somebody who stays keeps its source, and that one its own.
    extended = {source for source, found in children.items() if any(child not in rows for child in found)}
    extended |= {rows[id_].extended_from for id_ in staying}
    while more := {id_ for id_ in extended if id_ in rows and id_ not in staying}:
        staying |= dict.fromkeys(more, KeepReason.EXTENDED)
        extended = {rows[id_].extended_from for id_ in more}
    kept.update(staying.values())
    return [id_ for id_ in ids if id_ in rows and id_ not in staying], kept


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
    among = bulk_parameters.in_parameter(connection.dialect.name, _event.c.participant_id)
    waiting = select(_event.c.participant_id).where(among, _event.c.position.is_(None)).distinct()
    for id_ in connection.scalars(waiting, {bulk_parameters.IDS_PARAM: list(rows)}):
        yield id_, KeepReason.OWED


def _remove(connection: Connection, ids: Sequence[UUID], *, dry: bool) -> Counter[str]:
    rows: Counter[str] = Counter()
    if not ids:
        return rows
    for table, column in (*((table, table.c.participant_id) for table in _OWNED_TABLES), (_p, _p.c.id)):
        among: Any = bulk_parameters.in_parameter(connection.dialect.name, column)
        given = {bulk_parameters.IDS_PARAM: ids}
        if dry:
            counted = select(func.count()).select_from(table).where(among)
            rows[table.name] = connection.scalar(counted, given) or 0
        else:
            rows[table.name] = connection.execute(delete(table).where(among), given).rowcount
    return rows
