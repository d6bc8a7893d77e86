"""Events of participants, in order of `seq`. The transaction that makes a change records its event.

Readers follow `position`, which counts a workspace's events from 1 and is assigned after the commit. Earlier
numbers would become visible out of order, and a reader that stores the last one would miss late commits. Each
workspace has its own count: gaps in a common one would reveal the activity of other workspaces.

Events of many participants that are created or cancelled at once go to the small table `outbox` first. In a
table with years of events, each is on its own page. A run or cancel would wait for all those writes. The
sequencer or the write of a participant's next event moves them, whichever is first. So `event` holds a
participant's events in order of `seq`, without a gap.
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
from understudy.store.paging import take
from understudy.store.schema import Tables

_event = Tables.event
_outbox = Tables.outbox
_p = Tables.participant

#: Maximum positions that one transaction assigns.
MAX_POSITIONS = 1_000
#: Minimum number of events that go to the outbox.
OUTBOX_THRESHOLD = 100
#: Arbitrary number that no other lock of the database uses.
_ADVISORY_LOCK = 8_246_017_332

#: Scopes of event lists, each with the column that identifies it.
SCOPES = {Kind.PARTICIPANT: _event.c.participant_id, Kind.STUDY: _event.c.study_id, Kind.ASK: _event.c.ask_id}
#: Columns that are known when an event is written.
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
    def of_status(cls, participant_id: UUID, seq: int, status: Status, **details: Any) -> Self:
        """Returns the event of a transition to `status`."""
        return cls(participant_id, seq, "status", {"status": str(status), **details})


def record(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Inserts `events`; the guarded update of each has raised its `seq`. Raises IntegrityError on a repeat.

    The outbox must hold no event of these participants. It holds none of a running one, since its claim.
    """
    if not events:
        return
    rows = [event._asdict() | {"participant_id": event.participant_id.hex} for event in events]
    connection.execute(_record(connection.dialect.name), bulk_parameters.parameter(rows))


@cache
def _record(dialect: str) -> Insert:
    rows = bulk_parameters.rows_parameter(dialect, *(_event.c[name] for name in NewEvent._fields))
    return insert(_event).from_select([*rows.c.keys(), "at"], select(rows, store_clock()))


def record_bulk(
    connection: Connection,
    ids: Sequence[UUID] | Sequence[str],
    kind: str,
    data: dict[str, Any],
    *,
    via_outbox: bool = False,
) -> None:
    """Inserts the same event for each of these participants, in one statement. Not repeatable.

    The `seq` is that of their rows: the guarded update has just raised it, in this transaction. With
    `via_outbox`, OUTBOX_THRESHOLD events or more go to the outbox; else their outbox is flushed first.
    """
    if not ids:
        return
    via_outbox = via_outbox and len(ids) >= OUTBOX_THRESHOLD
    if not via_outbox:
        flush_outbox(connection, ids)
    statement = _insert_bulk(connection.dialect.name, via_outbox=via_outbox)
    connection.execute(statement, {"kind": kind, "data": data, bulk_parameters.IDS_PARAM: ids})


@cache
def _insert_bulk(dialect: str, *, via_outbox: bool) -> Insert:
    shared = (bindparam(name, type_=_event.c[name].type) for name in ("kind", "data"))
    rows = select(_p.c.id, _p.c.seq, *shared, store_clock()).where(bulk_parameters.in_parameter(dialect, _p.c.id))
    return insert(_outbox if via_outbox else _event).from_select(_EVENT_COLUMNS, rows)


# -- outbox ------------------------------------------------------------------------------------------------


def flush_outbox(connection: Connection, ids: Sequence[UUID] | Sequence[str]) -> None:
    """Moves the events of these participants, if any, from the outbox to `event`. Repeatable.

    A concurrent call waits, then finds none. A claim and `record_bulk` call it before they record, in the
    transaction that has just raised the `seq`.
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


class _OutboxFlush(NamedTuple):
    lock: Select[Any]
    copy: Insert
    remove: Delete


@cache
def _flush_statements(dialect: str) -> _OutboxFlush:
    key = _by_seq(_outbox)
    # In order: a concurrent flush of the same events waits, then finds none.
    requested = bulk_parameters.in_parameter(dialect, _outbox.c.participant_id)
    lock = select(*key).where(requested).order_by(*key).with_for_update()
    # Only locked events: a cancel may have added another one of the same participant.
    keys = bulk_parameters.rows_parameter(dialect, *key)
    locked = tuple_(*key).in_(select(*keys.c))
    events = select(*(_outbox.c[name] for name in _EVENT_COLUMNS))
    copy = insert(_event).from_select(_EVENT_COLUMNS, events.where(locked))
    return _OutboxFlush(lock, copy, delete(_outbox).where(locked))


# -- positions ---------------------------------------------------------------------------------------------


def has_unsequenced(connection: Connection) -> bool:
    """Returns whether any event has no position yet."""
    waiting = select(_event.c.seq).where(_event.c.position.is_(None)).limit(1)
    return connection.scalar(waiting) is not None or bool(_outbox_participants(connection, 1))


def _outbox_participants(connection: Connection, limit: int) -> Sequence[UUID]:
    """Returns the participants of up to `limit` outbox events; one with two events occurs twice."""
    first = select(_outbox.c.participant_id).order_by(*_by_seq(_outbox)).limit(limit)
    return connection.scalars(first).all()


def assign_positions(connection: Connection, limit: int = MAX_POSITIONS, *, wait_for_lock: bool = False) -> int:
    """Assigns the next positions of their workspaces to up to `limit` committed events; returns how many.

    One transaction does this at a time, so positions become visible in order. A concurrent call returns 0, or
    waits if `wait_for_lock`. Positions follow `seq`: each event was committed before the participant's next
    one was created. Repeatable: positions never change.
    """
    if not lock_sequencer(connection, wait=wait_for_lock):
        return 0
    flush_outbox(connection, _outbox_participants(connection, limit))
    by_seq = _by_seq(_event)
    batch = select(*by_seq).where(_event.c.position.is_(None)).order_by(*by_seq).limit(limit).subquery()
    events = select(batch, _p.c.workspace_id, _p.c.study_id, _p.c.ask_id)
    rows = connection.execute(
        events.join(_p, _p.c.id == batch.c.participant_id).order_by(batch.c.participant_id, batch.c.seq)
    ).all()
    assigned: list[dict[str, Any]] = []
    last: dict[UUID, int] = {}
    for row in rows:
        if row.workspace_id not in last:
            last[row.workspace_id] = last_position(connection, row.workspace_id)
        last[row.workspace_id] += 1
        ids = {name: value.hex for name, value in row._mapping.items() if isinstance(value, UUID)}
        assigned.append({"seq": row.seq, "position": last[row.workspace_id], **ids})
    if assigned:
        connection.execute(_assign_statement(connection.dialect.name), bulk_parameters.parameter(assigned))
    return len(assigned)


@cache
def _assign_statement(dialect: str) -> Update:
    key = (_event.c.participant_id, _event.c.seq)
    new = (_event.c.position, _event.c.workspace_id, _event.c.study_id, _event.c.ask_id)
    rows = bulk_parameters.rows_parameter(dialect, *key, *new)
    statement = update(_event).where(*(column == rows.c[column.name] for column in key))
    return statement.values({column.name: rows.c[column.name] for column in new})


def lock_sequencer(connection: Connection, *, wait: bool) -> bool:
    """Locks the assignment of positions until the transaction ends; returns whether it holds the lock."""
    if connection.dialect.name != "postgresql":
        # SQLite has one writer at a time, from its begin to its commit.
        return True
    # A separate statement: the next one sees all that the previous lock holder committed.
    lock = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
    return connection.scalar(text(f"SELECT {lock}(:lock)"), {"lock": _ADVISORY_LOCK}) is not False


# -- reads -------------------------------------------------------------------------------------------------


def last_position(connection: Connection, workspace_id: UUID) -> int:
    """Returns the position of the workspace's newest event that had one, deleted ones included; 0 if none had."""
    workspace = Tables.workspace
    workspace_filter = (_event.c.workspace_id == workspace_id, _event.c.position.is_not(None))
    newest = connection.scalar(select(func.max(_event.c.position)).where(*workspace_filter))
    deleted = connection.scalar(select(workspace.c.last_position).where(workspace.c.id == workspace_id))
    return max(newest or 0, deleted or 0)


def events_after(
    connection: Connection,
    workspace_id: UUID,
    position: int,
    limit: int,
    *,
    of: tuple[Kind, UUID] | None = None,
) -> tuple[list[AnyRow], bool]:
    """Returns the next events after `position`, in order, and whether more follow; only of scope `of`, if set.

    Returns at most `limit` events, and fewer if they are large.
    """
    statement = select(_event).where(_event.c.workspace_id == workspace_id)
    order, after = _event.c.position, _event.c.position > position
    if of is not None:
        kind, id_ = of
        statement = statement.where(SCOPES[kind] == id_)
        if kind is Kind.PARTICIPANT:
            # The same order, by the table's key. The sum keeps SQLite off a less suitable index.
            order, after = _event.c.seq, _event.c.position + 0 > position
    return take(connection, statement.where(after).order_by(order), limit)
