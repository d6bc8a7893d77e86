"""Deliveries: which event goes to which webhook, and what became of it.

The events of a workspace become deliveries in order of their positions, in one transaction with the cursor that
says how far that went. So a crash neither loses nor repeats one, and any number of processes may do it at once.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from understudy.domain.lifecycle import ACTIVE, TERMINAL, Status
from understudy.domain.webhooks import LOG_DAYS, TYPES_BY_STATUS, DeliveryStatus, EventType
from understudy.store.engine import AnyRow, chunks, store_clock
from understudy.store.paging import page
from understudy.store.schema import Tables

_delivery = Tables.delivery
_webhook = Tables.webhook
_cursor = Tables.webhook_cursor
_event = Tables.event
_outbox = Tables.outbox
_p = Tables.participant

#: Maximum events that one transaction makes deliveries of.
MAX_EVENTS = 1_000
#: Seconds for which a claim keeps other processes off; an attempt must begin and end within them.
CLAIM_S = 60.0
_PENDING = str(DeliveryStatus.PENDING)
#: A literal: SQLite uses no partial index for a value that is bound later.
_LITERAL_PENDING: ColumnElement[str] = literal_column(f"'{_PENDING}'")


class _Source(NamedTuple):
    """A participant or dispatch of which a webhook hears."""

    id: UUID
    type: str
    position: int
    at: datetime


class Batch(NamedTuple):
    """The next events of a workspace, read before the transaction that makes deliveries of them."""

    workspace_id: UUID
    start: int
    end: int
    sources: list[_Source]
    has_more: bool


# -- from events to deliveries -----------------------------------------------------------------------------


def has_webhooks(connection: Connection) -> bool:
    """Returns whether any workspace has a webhook."""
    return connection.scalar(select(_webhook.c.id).limit(1)) is not None


def workspaces_with_events(connection: Connection) -> Sequence[UUID]:
    """Returns the workspaces with a webhook whose cursor may have events after it."""
    owner = _webhook.c.workspace_id
    after = func.coalesce(_cursor.c.position, _webhook.c.since_position)
    events = exists(select(1).where(_event.c.workspace_id == owner, _event.c.position > after))
    webhooks = select(owner).distinct().outerjoin(_cursor, _cursor.c.workspace_id == owner)
    return connection.scalars(webhooks.where(events).order_by(owner)).all()


def next_batch(connection: Connection, workspace_id: UUID, limit: int = MAX_EVENTS) -> Batch | None:
    """Returns the next events after the workspace's cursor; None if there are none."""
    start = connection.scalar(select(_cursor.c.position).where(_cursor.c.workspace_id == workspace_id))
    first = connection.scalar(
        select(func.min(_webhook.c.since_position)).where(_webhook.c.workspace_id == workspace_id)
    )
    after = max(start or 0, first or 0)
    in_order = select(_event.c.position, _event.c.participant_id, _event.c.kind, _event.c.data, _event.c.at)
    following = in_order.where(_event.c.workspace_id == workspace_id, _event.c.position > after)
    rows = connection.execute(following.order_by(_event.c.position).limit(limit)).all()
    if not rows:
        return None
    sources = [
        _Source(row.participant_id, str(TYPES_BY_STATUS[Status(row.data["status"])]), row.position, row.at)
        for row in rows
        if row.kind == "status" and row.data["status"] in TERMINAL
    ]
    return Batch(workspace_id, start or 0, rows[-1].position, sources, len(rows) == limit)


def record_batch(connection: Connection, batch: Batch) -> int | None:
    """Makes deliveries of a batch and moves the cursor; returns how many deliveries.

    Returns None, and does nothing, if another process was faster: the guarded update of the cursor lets one win.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    begin = dialect.insert(_cursor).values(workspace_id=batch.workspace_id, position=0)
    connection.execute(begin.on_conflict_do_nothing())
    move = update(_cursor).where(_cursor.c.workspace_id == batch.workspace_id, _cursor.c.position == batch.start)
    if connection.execute(move.values(position=batch.end)).rowcount != 1:
        return None
    sources = [*batch.sources, *_finished_dispatches(connection, batch)]
    if not sources:
        return 0
    # Locked: a concurrent deletion waits, then deletes these deliveries too.
    receivers = connection.execute(
        select(_webhook.c.id, _webhook.c.events, _webhook.c.since_position)
        .where(_webhook.c.workspace_id == batch.workspace_id)
        .order_by(_webhook.c.id)
        .with_for_update(read=True, key_share=True)
    ).all()
    rows = [
        {
            "id": uuid4(),
            "webhook_id": receiver.id,
            "workspace_id": batch.workspace_id,
            "type": source.type,
            "source_id": source.id,
            "position": source.position,
            "occurred_at": source.at,
            "status": _PENDING,
            "attempts": 0,
            "claim_no": 0,
        }
        for source in sources
        for receiver in receivers
        if source.type in receiver.events and source.position > receiver.since_position
    ]
    now = dict.fromkeys(("created_at", "retry_from", "due_at"), store_clock())
    for some in chunks(rows, 500):
        connection.execute(dialect.insert(_delivery).on_conflict_do_nothing().values([one | now for one in some]))
    return len(rows)


def _finished_dispatches(connection: Connection, batch: Batch) -> list[_Source]:
    """Returns the dispatches that this batch finishes: all participants are terminal, and no event is left.

    The batch with the last event of a dispatch finishes it. A dispatch gets no further participants, and a terminal
    one never changes, so this stays true.
    """
    ended = {source.id: source for source in batch.sources}
    of_batch: dict[UUID, _Source] = {}
    for ids in chunks(list(ended)):
        rows = connection.execute(
            select(_p.c.id, _p.c.dispatch_id).where(_p.c.id.in_(ids), _p.c.dispatch_id.is_not(None))
        )
        for id_, dispatch_id in rows:
            last = max(of_batch.get(dispatch_id, ended[id_]), ended[id_], key=lambda source: source.position)
            of_batch[dispatch_id] = last
    return [
        _Source(dispatch_id, str(EventType.RUN_FINISHED), last.position, last.at)
        for dispatch_id, last in of_batch.items()
        if not _is_unfinished(connection, dispatch_id, batch.end)
    ]


def _is_unfinished(connection: Connection, dispatch_id: UUID, end: int) -> bool:
    """Returns whether a participant of the dispatch is not terminal, or has its last event after position `end`."""
    of_dispatch = _p.c.dispatch_id == dispatch_id
    active = [str(status) for status in sorted({*ACTIVE, Status.DRAFT})]
    if connection.scalar(select(_p.c.id).where(of_dispatch, _p.c.status.in_(active)).limit(1)) is not None:
        return True
    # A terminal status is a participant's last event, or the last but one before its stop record.
    is_last = and_(_event.c.participant_id == _p.c.id, _event.c.seq.in_([_p.c.seq, _p.c.seq - 1]))
    is_later = or_(_event.c.position.is_(None), _event.c.position > end)
    later = select(_p.c.id).join(_event, is_last).where(of_dispatch, _event.c.kind == "status", is_later)
    waiting = select(_p.c.id).join(_outbox, _outbox.c.participant_id == _p.c.id)
    waiting = waiting.where(of_dispatch, _outbox.c.kind == "status")
    return any(connection.scalar(statement.limit(1)) is not None for statement in (later, waiting))


# -- attempts ----------------------------------------------------------------------------------------------


def _is_due() -> Any:
    # As a subquery: PostgreSQL uses no index for a comparison with a function that changes within a statement.
    now = select(store_clock()).scalar_subquery()
    free = or_(_delivery.c.claimed_until.is_(None), _delivery.c.claimed_until <= now)
    return and_(_delivery.c.status == _LITERAL_PENDING, _delivery.c.due_at <= now, free)


def webhooks_with_due(connection: Connection) -> Sequence[UUID]:
    """Returns the webhooks that have a delivery to attempt now."""
    due = exists(select(1).where(_delivery.c.webhook_id == _webhook.c.id, _is_due()))
    return connection.scalars(select(_webhook.c.id).where(due)).all()


def claim(connection: Connection, webhook_id: UUID, limit: int) -> list[AnyRow]:
    """Claims up to `limit` due deliveries of a webhook for CLAIM_S; returns them with the webhook's address.

    One guarded statement: concurrent calls return disjoint deliveries. It passes over a delivery while an earlier
    one of the same source is pending.
    """
    other = _delivery.alias()
    # Its key leads to the few deliveries of a source.
    earlier = exists(
        select(1).where(
            other.c.webhook_id == _delivery.c.webhook_id,
            other.c.source_id == _delivery.c.source_id,
            other.c.status == _PENDING,
            other.c.position < _delivery.c.position,
        )
    )
    due = select(_delivery.c.id).where(_delivery.c.webhook_id == webhook_id, _is_due(), ~earlier)
    due = due.order_by(_delivery.c.due_at, _delivery.c.position).limit(limit).with_for_update(skip_locked=True)
    # As a common table expression: PostgreSQL may run a subquery once per row, which then has its limit per row.
    selected = due.cte("selected")
    statement = (
        update(_delivery)
        .where(_delivery.c.id.in_(select(selected.c.id)), _is_due())
        .values(
            claim_no=_delivery.c.claim_no + 1,
            attempts=_delivery.c.attempts + 1,
            claimed_until=store_clock(CLAIM_S),
            attempted_at=store_clock(),
        )
        .returning(_delivery)
    )
    rows = connection.execute(statement).all()
    if not rows:
        return []
    columns = (_webhook.c.url, _webhook.c.secret, _live_previous_secret())
    claimed = _delivery.c.id.in_([row.id for row in rows])
    receivers = select(_delivery, *columns).join(_webhook, _webhook.c.id == _delivery.c.webhook_id)
    return list(connection.execute(receivers.where(claimed).order_by(_delivery.c.position)).all())


def _live_previous_secret() -> Any:
    is_live = _webhook.c.previous_until > store_clock()
    return case((is_live, _webhook.c.previous_secret), else_=null()).label("previous_secret")


class Attempt(NamedTuple):
    """The result of one attempt of a delivery."""

    delivery_id: UUID
    claim_no: int
    #: None if it was delivered.
    error: str | None
    response_status: int | None
    #: Seconds until the next attempt, if it failed.
    retry_after_s: float = 0.0
    #: It can never succeed.
    is_final: bool = False


def settle(connection: Connection, attempt: Attempt, retry_s: float) -> DeliveryStatus | None:
    """Stores the result of an attempt; returns the delivery's status, or None if another claim has it now.

    A failed one is due again, or dead if its retry period of `retry_s` seconds is over.
    """
    mine = and_(
        _delivery.c.id == attempt.delivery_id,
        _delivery.c.claim_no == attempt.claim_no,
        _delivery.c.status == _PENDING,
    )
    statement = update(_delivery).where(mine)
    values: dict[str, Any] = {
        "claimed_until": null(),
        "response_status": attempt.response_status,
        "error": attempt.error,
    }
    if attempt.error is None:
        values |= {"status": str(DeliveryStatus.DELIVERED), "ended_at": store_clock()}
    else:
        is_over = true() if attempt.is_final else _delivery.c.retry_from <= store_clock(-retry_s)
        values |= {
            "status": case((is_over, str(DeliveryStatus.DEAD)), else_=_PENDING),
            "ended_at": case((is_over, store_clock()), else_=null()),
            "due_at": store_clock(attempt.retry_after_s),
        }
    status = connection.scalar(statement.values(**values).returning(_delivery.c.status))
    return None if status is None else DeliveryStatus(status)


# -- replays, the log --------------------------------------------------------------------------------------


class ReplayFilter(NamedTuple):
    """Selects deliveries of a webhook for a replay."""

    webhook_id: UUID
    delivery_id: UUID | None = None
    since: datetime | None = None
    status: DeliveryStatus | None = None


def replay(connection: Connection, which: ReplayFilter) -> int:
    """Makes these deliveries due now, with a new retry period; returns how many.

    One that is pending already is attempted now, and not a second time.
    """
    conditions = [_delivery.c.webhook_id == which.webhook_id]
    if which.delivery_id is not None:
        conditions.append(_delivery.c.id == which.delivery_id)
    if which.since is not None:
        conditions.append(_delivery.c.occurred_at >= which.since)
    if which.status is not None:
        conditions.append(_delivery.c.status == str(which.status))
    again = update(_delivery).where(*conditions)
    now = dict.fromkeys(("retry_from", "due_at"), store_clock())
    return connection.execute(again.values(status=_PENDING, attempts=0, ended_at=null(), **now)).rowcount


def page_of_deliveries(
    connection: Connection, webhook_id: UUID, status: DeliveryStatus | None, cursor: str | None, limit: int
) -> tuple[list[AnyRow], str | None]:
    """Returns a page of a webhook's deliveries, in order of creation."""
    statement = select(_delivery).where(_delivery.c.webhook_id == webhook_id)
    if status is not None:
        statement = statement.where(_delivery.c.status == str(status))
    return page(connection, statement, _delivery, cursor, limit)


def delete_old(connection: Connection, limit: int) -> int:
    """Deletes up to `limit` deliveries that ended LOG_DAYS ago; returns how many. Repeatable."""
    before = select(store_clock(-LOG_DAYS * 86_400)).scalar_subquery()
    ended = select(_delivery.c.id).where(_delivery.c.ended_at < before).limit(limit)
    return connection.execute(delete(_delivery).where(_delivery.c.id.in_(ended))).rowcount


class Backlog(NamedTuple):
    """Figures about deliveries that wait, of all workspaces."""

    pending: int
    oldest_s: float


def backlog(connection: Connection) -> Backlog:
    """Returns the number of pending deliveries, and the seconds since the oldest one was created or replayed."""
    pending = _delivery.c.status == _LITERAL_PENDING
    columns = (func.count(), func.min(_delivery.c.retry_from), store_clock())
    count, since, now = connection.execute(select(*columns).select_from(_delivery).where(pending)).one()
    return Backlog(count, 0.0 if since is None else max((now - since).total_seconds(), 0.0))
