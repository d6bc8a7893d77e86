"""The quotas of a workspace: participants and model tokens a day, and stored bytes.

A dispatch charges its participants in its own transaction; the row in `quota_use` orders concurrent ones. A value of
0 is no limit.
"""

from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from understudy.domain.errors import UsageLimitReached
from understudy.domain.lifecycle import TERMINAL
from understudy.store import usage
from understudy.store.engine import AnyRow, Store, store_clock, store_time
from understudy.store.schema import Tables

_use = Tables.quota_use
_event = Tables.event
_interaction = Tables.interaction
_checkpoint = Tables.checkpoint
_iteration = Tables.iteration
_ask = Tables.ask

#: Events that one transaction measures.
MEASURED_EVENTS = 2_000


class Quotas(NamedTuple):
    """The quotas in force for a workspace."""

    participants_per_day: int = 0
    model_tokens_per_day: int = 0
    stored_bytes: int = 0


class Dispatcher(NamedTuple):
    """The workspace of a dispatch, as one statement reads it."""

    workspace: AnyRow
    #: The store's time.
    now: datetime
    #: The mind of the iteration or ask; None if none was given.
    mind: str | None


def lock_dispatcher(
    connection: Connection, workspace_id: UUID, iteration_id: UUID | None = None, ask_id: UUID | None = None
) -> Dispatcher:
    """Returns the workspace, locked as `assign_aliases` locks it, and the mind of an iteration or ask.

    Transactions take this lock first, then the row in `quota_use`.
    """
    owner = {"workspace": workspace_id, "of": ask_id if iteration_id is None else iteration_id}
    row = connection.execute(_select_dispatcher(of_iteration=iteration_id is not None), owner).one()
    return Dispatcher(row, row.now.astimezone(UTC), row.mind)


# Each dispatch executes these statements; to build them takes longer.
@cache
def _select_dispatcher(*, of_iteration: bool) -> Select[Any]:
    workspace, table = Tables.workspace, _iteration if of_iteration else _ask
    mind = select(table.c.mind).where(table.c.id == bindparam("of")).scalar_subquery()
    found = select(workspace, store_clock().label("now"), mind.label("mind"))
    found = found.where(workspace.c.id == bindparam("workspace"))
    return found.with_for_update(key_share=True, of=workspace)


def charge_participants(connection: Connection, workspace_id: UUID, count: int, limit: int, now: datetime) -> None:
    """Counts new participants of the day of `now` (UTC). Raises UsageLimitReached if they would be more than `limit`.

    Call it in the transaction that inserts them: its rollback takes the count back.
    """
    charge = {"workspace_id": workspace_id, "day": _name_of(now), "participants": count, "limit": limit}
    first_fits = not limit or count <= limit
    if not first_fits or connection.scalar(_charge(connection.dialect.name, is_limited=limit > 0), charge) is None:
        raise UsageLimitReached(
            f"The quota participants_per_day of this workspace is {limit:,}; "
            f"{participants_today(connection, workspace_id):,} are used and {count:,} more were asked for. "
            f"It frees at {_midnight_after(now)}.",
            suggestions=("Ask for fewer participants, wait until then, or ask the operator for a larger quota.",),
        )


@cache
def _charge(dialect: str, *, is_limited: bool) -> Any:
    count, day = bindparam("participants", type_=_use.c.participants.type), bindparam("day", type_=_use.c.day.type)
    total = case((_use.c.day == day, _use.c.participants), else_=0) + count
    charge = _insert_into(dialect).values(
        workspace_id=bindparam("workspace_id"), day=day, participants=count, stored_bytes=0, measured_position=0
    )
    charge = charge.on_conflict_do_update(
        index_elements=[_use.c.workspace_id],
        set_={"participants": total, "day": day},
        where=total <= bindparam("limit", type_=BigInteger) if is_limited else None,
    )
    return charge.returning(_use.c.workspace_id)


def check_model_tokens(connection: Connection, workspace_id: UUID, limit: int) -> None:
    """Raises UsageLimitReached if the workspace has used up its model tokens of today (UTC)."""
    if limit and (used := model_tokens_today(connection, workspace_id)) >= limit:
        raise UsageLimitReached(
            f"The quota model_tokens_per_day of this workspace is {limit:,}; {used:,} are used. "
            f"It frees at {_midnight_after(store_time(connection).astimezone(UTC))}.",
            suggestions=("Wait until then, use a mind without a model, or ask the operator for a larger quota.",),
        )


def check_stored_bytes(connection: Connection, workspace_id: UUID, limit: int) -> None:
    """Measures what was stored since the last time; raises UsageLimitReached if the workspace stores too much."""
    if not limit:
        return
    measure(connection, workspace_id)
    used = stored_bytes(connection, workspace_id)
    if used >= limit:
        raise UsageLimitReached(
            f"The quota stored_bytes of this workspace is {limit:,}; {used:,} are used. "
            "It frees when the operator deletes old participants.",
            suggestions=("Ask the operator to run `understudy prune`, or for a larger quota.",),
        )


def participants_today(connection: Connection, workspace_id: UUID) -> int:
    """Returns how many participants were created today (UTC), deleted ones included."""
    today = _name_of(store_time(connection).astimezone(UTC))
    counted = select(_use.c.participants).where(_is_of(workspace_id), _use.c.day == today)
    return connection.scalar(counted) or 0


def model_tokens_today(connection: Connection, workspace_id: UUID) -> int:
    """Returns the tokens that models have used for this workspace since midnight (UTC)."""
    midnight = store_time(connection).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(usage.tokens_of_workspace(connection, workspace_id, midnight))


def stored_bytes(connection: Connection, workspace_id: UUID) -> int:
    """Returns the bytes of this workspace that were measured so far."""
    return connection.scalar(select(_use.c.stored_bytes).where(_is_of(workspace_id))) or 0


def measure(connection: Connection, workspace_id: UUID) -> bool:
    """Adds what the next MEASURED_EVENTS events have stored; returns whether more follow.

    An event stands for itself and its interaction; the one that ends a participant also stands for its checkpoint.
    So each row is read once, however large the workspace is.
    """
    # Concurrent measurements would add the same events.
    position = lock_use(connection, workspace_id)
    if position is None:
        _ensure_row(connection, workspace_id)
        position = lock_use(connection, workspace_id)
    page = (
        select(_event)
        .where(_event.c.workspace_id == workspace_id, _event.c.position > position)
        .order_by(_event.c.position)
        .limit(MEASURED_EVENTS)
        .subquery()
    )
    row = connection.execute(_sum(connection, page)).one()
    if not row.events:
        return False
    added = update(_use).where(_is_of(workspace_id))
    values = {"stored_bytes": _use.c.stored_bytes + int(row.bytes), "measured_position": row.position}
    connection.execute(added.values(**values))
    return bool(row.events == MEASURED_EVENTS)


def measure_all(store: Store, workspace_id: UUID, max_pages: int) -> None:
    """Measures the new events of a workspace in up to `max_pages` transactions. Raises ServiceUnavailable."""
    for _ in range(max_pages):
        if not store.write(lambda connection: measure(connection, workspace_id)):
            return


def lock_use(connection: Connection, workspace_id: UUID) -> int | None:
    """Locks the row of this workspace; returns the position up to which its events are measured, None without a row."""
    lock = select(_use.c.measured_position).where(_is_of(workspace_id)).with_for_update()
    return connection.scalar(lock)


def release_bytes(
    connection: Connection, workspace_id: UUID, of_participants: ColumnElement[bool], params: Any
) -> None:
    """Takes back what was measured of participants that this transaction deletes next.

    `of_participants` is the condition on `event.participant_id`.
    """
    position = lock_use(connection, workspace_id)
    if not position:
        return
    measured = select(_event).where(of_participants, _event.c.position <= position).subquery()
    row = connection.execute(_sum(connection, measured), params).one()
    left = _use.c.stored_bytes - int(row.bytes or 0)
    freed = update(_use).where(_is_of(workspace_id))
    connection.execute(freed.values(stored_bytes=case((left > 0, left), else_=0)))


def _sum(connection: Connection, events: Any) -> Any:
    """Returns the select of the number of these events, the last position, and the bytes that they stand for."""
    is_postgresql = connection.dialect.name == "postgresql"

    def size(*columns: Any) -> Any:
        # JSON columns are text on both stores. SQLite counts characters unless it is bytes.
        lengths = [
            func.octet_length(cast(column, String)) if is_postgresql else func.length(cast(column, LargeBinary))
            for column in columns
        ]
        return sum((func.coalesce(length, 0) for length in lengths), literal(0))

    ends = and_(events.c.kind == "status", events.c.data["status"].as_string().in_([str(one) for one in TERMINAL]))
    is_own = and_(
        events.c.kind == "interaction",
        _interaction.c.participant_id == events.c.participant_id,
        _interaction.c.ordinal == events.c.data["index"].as_integer(),
    )
    written = (_interaction.c.observation, _interaction.c.thought, _interaction.c.action, _interaction.c.result)
    total = func.sum(size(events.c.data, *written, _checkpoint.c.state))
    return (
        select(
            func.count().label("events"),
            func.max(events.c.position).label("position"),
            cast(total, BigInteger).label("bytes"),
        )
        .select_from(events)
        .outerjoin(_interaction, is_own)
        .outerjoin(_checkpoint, and_(ends, _checkpoint.c.participant_id == events.c.participant_id))
    )


def _is_of(workspace_id: UUID) -> ColumnElement[bool]:
    return _use.c.workspace_id == workspace_id


def _ensure_row(connection: Connection, workspace_id: UUID) -> None:
    row = {"day": "", "participants": 0, "stored_bytes": 0, "measured_position": 0}
    connection.execute(
        _insert_into(connection.dialect.name).values(workspace_id=workspace_id, **row).on_conflict_do_nothing()
    )


def _insert_into(dialect: str) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(_use)


def _name_of(day: datetime) -> str:
    return f"{day:%Y-%m-%d}"


def _midnight_after(now: datetime) -> str:
    seconds_left = 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
    return f"midnight (UTC), in {seconds_left // 3600} h {seconds_left // 60 % 60} min"
