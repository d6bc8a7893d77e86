"""Events: what happened to a participant, in order of `seq`, written by the transaction that did it.

Readers go by `position`, which counts a workspace's events from 1. It is given after the commit: numbers
taken before it become visible out of order, and who remembers the last one seen would miss what was committed
late. There is not one count for all: its gaps would tell what other workspaces do.

The events of many who are made or cancelled at once go to `outbox` first, which is small: in a table with
years of events, each of them is on a page of its own, and a run or cancel would be as long as it takes to
write those. They are moved by who gives positions, or by the write of a participant's next event, whoever is
first. So the events of a participant are in `event` in order of `seq`, without a gap.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, Self
from uuid import UUID

from sqlalchemy import (
    Column,
    Connection,
    Delete,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)

from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.store import bulk_parameters
from understudy.store.engine import AnyRow, store_clock
from understudy.store.schema import Tables

_event = Tables.event
_outbox = Tables.outbox
_p = Tables.participant

#: Positions that one transaction gives.
MAX_POSITIONS = 1_000
#: From so many events on, it is worth while to move them later.
OUTBOX_THRESHOLD = 100
#: Any number that nothing else in the database locks.
_ADVISORY_LOCK = 8_246_017_332

#: What events can be read of, and the column that tells.
SCOPES = {Kind.PARTICIPANT: _event.c.participant_id, Kind.STUDY: _event.c.study_id, Kind.ASK: _event.c.ask_id}
#: What is known of an event when it is written.
_EVENT_COLUMNS = ("participant_id", "seq", "kind", "data", "at")


def _by_seq(table: Table) -> tuple[Column[Any], ...]:
    return (table.c.participant_id, table.c.seq)


class NewEvent(NamedTuple):
    participant_id: UUID
    seq: int
    #: status, interaction or stopped
    kind: str
    data: dict[str, Any]

    @classmethod
    def of_status(cls, participant_id: UUID, seq: int, status: Status, **more: Any) -> Self:
        """The event of a transition to `status`."""
        return cls(participant_id, seq, "status", {"status": str(status), **more})


def record(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Write `events`; each `seq` was taken by the guarded update it belongs to.

    Nothing of these participants may wait in the outbox: of who runs nothing does, since its claim.
    """
    if not events:
        return
    rows = [event._asdict() | {"participant_id": event.participant_id.hex} for event in events]
    connection.execute(_record(connection.dialect.name), bulk_parameters.parameter(rows))


@cache
def _record(dialect: str) -> Insert:
    given = bulk_parameters.rows_parameter(dialect, *(_event.c[name] for name in NewEvent._fields))
    return insert(_event).from_select([*given.c.keys(), "at"], select(given, store_clock()))


def record_bulk(
    connection: Connection, ids: Sequence[UUID], kind: str, data: dict[str, Any], *, via_outbox: bool = False
) -> None:
    """Write the same event for each of these participants, in one statement however many they are.

    Their `seq` is that of their rows: the guarded update that moved all of them has just raised it, in this
    transaction. `via_outbox`: if they are many, move the events later. If not, what of these still waits in
    the outbox is moved first.
    """
    if not ids:
        return
    via_outbox = via_outbox and len(ids) >= OUTBOX_THRESHOLD
    if not via_outbox:
        flush_outbox(connection, ids)
    statement = _insert_bulk(connection.dialect.name, by_outbox=via_outbox)
    connection.execute(statement, {"kind": kind, "data": data, bulk_parameters.IDS_PARAM: ids})


@cache
def _insert_bulk(dialect: str, *, by_outbox: bool) -> Insert:
    alike = (bindparam(name, type_=_event.c[name].type) for name in ("kind", "data"))
    moved = select(_p.c.id, _p.c.seq, *alike, store_clock()).where(
        bulk_parameters.in_parameter(dialect, _p.c.id)
    )
    return insert(_outbox if by_outbox else _event).from_select(_EVENT_COLUMNS, moved)


# -- moving them out of the outbox -------------------------------------------------------------------------


def flush_outbox(connection: Connection, ids: Sequence[UUID]) -> None:
    """Move the events of these participants from the outbox, if there are any, to where all others are.

    A claim and `record_bulk` call it first, in the transaction that has just raised their `seq`.
    """
    if not ids:
        return
    statements = _flush_statements(connection.dialect.name)
    found = connection.execute(statements.lock, {bulk_parameters.IDS_PARAM: ids}).all()
    if not found:
        return
    locked = bulk_parameters.parameter([{"participant_id": id_.hex, "seq": seq} for id_, seq in found])
    connection.execute(statements.copy, locked)
    connection.execute(statements.remove, locked)


class _Delivery(NamedTuple):
    lock: Select[Any]
    copy: Insert
    remove: Delete


@cache
def _flush_statements(dialect: str) -> _Delivery:
    key = _by_seq(_outbox)
    # In order: whoever moves the same ones at the same time waits, and finds none.
    here = bulk_parameters.in_parameter(dialect, _outbox.c.participant_id)
    lock = select(*key).where(here).order_by(*key).with_for_update()
    # Those that were locked: a cancel may have added one of the same participant since.
    given = bulk_parameters.rows_parameter(dialect, *key)
    locked = tuple_(*key).in_(select(*given.c))
    whole = select(*(_outbox.c[name] for name in _EVENT_COLUMNS))
    copy = insert(_event).from_select(_EVENT_COLUMNS, whole.where(locked))
    return _Delivery(lock, copy, delete(_outbox).where(locked))


# -- giving positions --------------------------------------------------------------------------------------


def has_unsequenced(connection: Connection) -> bool:
    """Is there an event without a position?"""
    waiting = select(_event.c.seq).where(_event.c.position.is_(None)).limit(1)
    return connection.scalar(waiting) is not None or bool(_outbox_participants(connection, 1))


def _outbox_participants(connection: Connection, limit: int) -> Sequence[UUID]:
    """Whose events are in the outbox: of so many events. Who was made and cancelled at once has two."""
    first = select(_outbox.c.participant_id).order_by(*_by_seq(_outbox)).limit(limit)
    return connection.scalars(first).all()


def assign_positions(
    connection: Connection, limit: int = MAX_POSITIONS, *, wait_for_lock: bool = False
) -> int:
    """Give up to `limit` events that are committed the next positions of their workspaces; returns how many.

    One transaction does so at a time, so that positions become visible in order; a second one returns 0, or
    waits if `wait_for_lock`. A participant's events get theirs in order of `seq`: each was committed before
    the next one of that participant was created.
    """
    if not _lock_sequencer(connection, patient=wait_for_lock):
        return 0
    flush_outbox(connection, _outbox_participants(connection, limit))
    by_seq = _by_seq(_event)
    first = select(*by_seq).where(_event.c.position.is_(None)).order_by(*by_seq).limit(limit).subquery()
    whose = select(first, _p.c.workspace_id, _p.c.study_id, _p.c.ask_id)
    waiting = connection.execute(
        whose.join(_p, _p.c.id == first.c.participant_id).order_by(first.c.participant_id, first.c.seq)
    ).all()
    given: list[dict[str, Any]] = []
    last: dict[UUID, int] = {}
    for row in waiting:
        if row.workspace_id not in last:
            last[row.workspace_id] = last_position(connection, row.workspace_id)
        last[row.workspace_id] += 1
        ids = {name: value.hex for name, value in row._mapping.items() if isinstance(value, UUID)}
        given.append({"seq": row.seq, "position": last[row.workspace_id], **ids})
    if given:
        connection.execute(_assign_statement(connection.dialect.name), bulk_parameters.parameter(given))
    return len(given)


@cache
def _assign_statement(dialect: str) -> Update:
    key = (_event.c.participant_id, _event.c.seq)
    new = (_event.c.position, _event.c.workspace_id, _event.c.study_id, _event.c.ask_id)
    given = bulk_parameters.rows_parameter(dialect, *key, *new)
    statement = update(_event).where(*(column == given.c[column.name] for column in key))
    return statement.values({column.name: given.c[column.name] for column in new})


def _lock_sequencer(connection: Connection, *, patient: bool) -> bool:
    if connection.dialect.name != "postgresql":
        # A writer of SQLite is the only one from its beginning to its commit.
        return True
    # A statement of its own: what comes after it sees all that the one before us has committed.
    lock = "pg_advisory_xact_lock" if patient else "pg_try_advisory_xact_lock"
    return connection.scalar(text(f"SELECT {lock}(:lock)"), {"lock": _ADVISORY_LOCK}) is not False


# -- reading them ------------------------------------------------------------------------------------------


def last_position(connection: Connection, workspace_id: UUID) -> int:
    """The position of the workspace's newest event that has one; 0 when none has."""
    newest = func.coalesce(func.max(_event.c.position), 0)
    mine = (_event.c.workspace_id == workspace_id, _event.c.position.is_not(None))
    position: int = connection.execute(select(newest).where(*mine)).scalar_one()
    return position


def events_after(
    connection: Connection,
    workspace_id: UUID,
    position: int,
    limit: int,
    *,
    of: tuple[Kind, UUID] | None = None,
) -> Sequence[AnyRow]:
    """The next `limit` events after `position`, in order: of one participant, study or ask, or of all."""
    statement = select(_event).where(_event.c.workspace_id == workspace_id)
    order, after = _event.c.position, _event.c.position > position
    if of is not None:
        kind, id_ = of
        statement = statement.where(SCOPES[kind] == id_)
        if kind is Kind.PARTICIPANT:
            # The same order, found by the table's key. The sum keeps SQLite from an index that suits less.
            order, after = _event.c.seq, _event.c.position + 0 > position
    return connection.execute(statement.where(after).order_by(order).limit(limit)).all()
