"""Figures about what waits, over all workspaces, for operators and for what scales the fleet."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, case, exists, func, literal_column, select

from understudy.domain.fair_shares import window_size
from understudy.domain.holds import STANDARD_LIMITS, DefaultLimits
from understudy.domain.lifecycle import Status
from understudy.store import leases, limits
from understudy.store.engine import AnyRow, store_clock, store_time
from understudy.store.schema import Tables

_p = Tables.participant
# Literals: SQLite uses no partial index for a value that is bound later.
_is_pending = _p.c.status == literal_column(f"'{Status.PENDING}'")
_oldest_that_may_run = (
    select(_p.c.pending_since)
    .where(
        _is_pending,
        ~exists().where(Tables.study.c.id == _p.c.study_id, Tables.study.c.paused_at.is_not(None)),
        ~exists().where(Tables.workspace.c.id == _p.c.workspace_id, Tables.workspace.c.paused_at.is_not(None)),
    )
    .order_by(_p.c.pending_since)
    .limit(1)
)


class Backlog(NamedTuple):
    """Figures about waiting participants."""

    unpublished: int
    #: Seconds that the oldest pending one has waited that is not paused; 0 if there is none.
    oldest_s: float
    #: Pending participants by the upper bound of their age in seconds; None: older.
    by_age: dict[int | None, int]
    #: Published run messages that nobody has taken, and how many there may be.
    window_messages: int
    window_size: int
    #: Slots that participants have or could use now.
    slots_wanted: int


def backlog(connection: Connection, ages: Sequence[int], defaults: DefaultLimits = STANDARD_LIMITS) -> Backlog:
    """Returns the figures; `ages` are bounds in seconds. Reads indexes of active participants only."""
    unpublished = connection.scalar(select(func.count()).where(_is_pending, _p.c.dispatched_at.is_(None)))
    since = connection.scalar(_oldest_that_may_run)
    oldest_s = (store_time(connection) - since).total_seconds() if since else 0.0
    sent = limits.published(connection)
    slots = leases.run_slots(connection)
    return Backlog(
        unpublished or 0,
        max(oldest_s, 0.0),
        _by_age(connection, ages),
        sum(row.total for row in sent),
        window_size(slots, len({row.workspace_id for row in sent})),
        _slots_wanted(connection, defaults),
    )


def _by_age(connection: Connection, ages: Sequence[int]) -> dict[int | None, int]:
    age = case(*((_p.c.pending_since > store_clock(-age), age) for age in ages), else_=None).label("age")
    counts = select(age, func.count().label("total")).where(_is_pending).group_by(age)
    return dict.fromkeys((*ages, None), 0) | {row.age: row.total for row in connection.execute(counts)}


def _slots_wanted(connection: Connection, defaults: DefaultLimits) -> int:
    """Returns the active participants that are neither paused nor above a limit."""
    group = (_p.c.workspace_id, _p.c.parent_id)
    unsent = select(*group, func.count().label("total")).where(limits.is_unsent, limits.in_index_order)
    members = [
        *limits.running(connection),
        *limits.published(connection),
        # In the order of the index, so that it is used.
        *connection.execute(unsent.group_by(_p.c.workspace_id, _p.c.queue, _p.c.parent_id)).all(),
    ]
    found = limits.load(connection, members, (), defaults)
    return sum(_let_run(found, member) for member in members)


def _let_run(found: limits.Limits, member: AnyRow) -> int:
    count = 0 if found.pause_of(member) else found.room_of(member)
    found.take(member, count)
    return count
