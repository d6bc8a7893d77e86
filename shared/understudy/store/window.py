"""The window of published run messages: reads the loads of workspaces, and publishes by their fair shares.

The rules are in `understudy.domain.fair_shares`. Refills take place one after the other (`serialize`): two at
once would both fill the same room, and let more participants run than a limit allows.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, false, func, select, true, update
from sqlalchemy.sql.dml import ReturningUpdate

from understudy.domain.fair_shares import Load, plan, window_size
from understudy.domain.holds import STANDARD_LIMITS, DefaultLimits
from understudy.domain.queues import Queue
from understudy.store import bulk_parameters, leases, limits
from understudy.store.dispatch import RunMessage, load_messages
from understudy.store.engine import AnyRow, store_clock
from understudy.store.groups import Group, find_groups, rows_of
from understudy.store.guards import queue_of
from understudy.store.limits import Limits, is_in_run_queue, is_late, is_pending, is_running, is_sent, is_unsent
from understudy.store.schema import Tables

_p = Tables.participant

#: Key of the lock in PostgreSQL.
_LOCK = 0x756E6465


class Refill(NamedTuple):
    """The messages of one refill, which the caller publishes in this order."""

    messages: list[RunMessage]
    #: Room or rows remain, so that another refill may follow at once.
    has_more: bool
    #: Participants that may run are still unpublished, or wait for a slot that another workspace gives up.
    has_backlog: bool
    #: Runs that were asked to give up their slots.
    preempted: int


def serialize(connection: Connection) -> None:
    """Waits until no other transaction refills the window or pauses something; lasts until the end of this one."""
    # SQLite has one writer at a time.
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def has_work(connection: Connection) -> bool:
    """Returns whether a refill may have something to publish or to move."""
    unsent, waiting = _select_work()
    if connection.scalar(unsent) is not None:
        return True
    owners = connection.scalars(waiting).all()
    if len(owners) != 1:
        return len(owners) > 1
    # The waiting ones may need a slot of another workspace.
    return connection.scalar(_select_holder(), {"waiting": owners[0]}) is not None


@cache
def _select_work() -> tuple[Select[Any], Select[Any]]:
    """Returns the statements that select an unpublished participant, and two workspaces whose participants wait."""
    # From the first workspace on: the condition makes SQLite use the index.
    place = (_p.c.workspace_id, _p.c.queue)
    unsent = select(_p.c.id).where(is_unsent, limits.in_index_order).order_by(*place).limit(1)
    return unsent, select(_p.c.workspace_id).where(is_sent, is_in_run_queue).distinct().limit(2)


@cache
def _select_holder() -> Select[Any]:
    """Selects a run of a workspace other than `waiting`."""
    is_of_another = _p.c.workspace_id != bindparam("waiting")
    return select(_p.c.id).where(is_running, is_in_run_queue, is_of_another).limit(1)


def refill(connection: Connection, limit: int, defaults: DefaultLimits = STANDARD_LIMITS) -> Refill:
    """Reserves up to `limit` messages by fair shares and returns them; asks runs to give up slots if necessary.

    Concurrent refills wait for each other. A participant that is cancelled or claimed meanwhile is left out.
    """
    serialize(connection)
    groups = find_groups(connection)
    running, sent = limits.running(connection), limits.published(connection)
    slots = leases.run_slots(connection)
    if not groups and len({row.workspace_id for row in [*running, *sent]}) < 2:
        return Refill([], has_more=False, has_backlog=False, preempted=0)
    found = limits.load(connection, groups, [*running, *sent], defaults)
    alone, runnable = _split(groups, found)
    messages = _publish_alone(connection, alone, limit)
    workspaces = {row.workspace_id for row in [*running, *sent]} | runnable.keys()
    size = window_size(slots, len(workspaces))
    room = size - sum(row.total for row in sent)
    chosen: dict[UUID, list[AnyRow]] = {}
    has_unread = False
    for workspace_id, own in runnable.items():
        holds = sum(row.total for row in running if row.workspace_id == workspace_id)
        wanted = min(max(room, slots - holds, 0), limit)
        chosen[workspace_id], all_read = _first_rows(connection, own, wanted, found)
        has_unread = has_unread or not all_read
    loads = _loads(running, sent, chosen, found.weights)
    planned = plan(loads, slots, limit - len(messages))
    taken = _take(connection, planned.ahead, loads, chosen, planned.window, is_contested=len(loads) > 1)
    messages += _reserve(connection, taken)
    preempted = sum(_preempt(connection, id_, count) for id_, count in planned.preempted.items())
    return Refill(
        messages,
        # A window that was emptied by half may be empty before the next poll.
        has_more=len(messages) >= limit or (has_unread and 2 * len(planned.window) > size),
        has_backlog=has_unread
        or any(chosen.values())
        or bool(planned.ahead)
        or any(one.ahead for one in loads.values()),
        preempted=preempted,
    )


# -- reading -----------------------------------------------------------------------------------------------


def _split(groups: Sequence[Group], found: Limits) -> tuple[list[Group], dict[UUID, list[Group]]]:
    """Returns the groups for quarantine, and those that may run by workspace; leaves out paused ones."""
    alone: list[Group] = []
    runnable: dict[UUID, list[Group]] = {}
    for group in groups:
        if found.pause_of(group) is not None:
            continue
        if group.queue == Queue.QUARANTINE:
            alone.append(group)
        else:
            runnable.setdefault(group.workspace_id, []).append(group)
    return alone, runnable


def _first_rows(
    connection: Connection, groups: Sequence[Group], limit: int, found: Limits
) -> tuple[list[AnyRow], bool]:
    """Returns a workspace's next participants under its limits, in order of rank and age, and whether that is all."""
    ahead = [(group.rank, group.head.created_at, group.head.id.hex, number) for number, group in enumerate(groups)]
    heapq.heapify(ahead)
    #: The rows of each group that were read, without those that were taken.
    read: dict[int, list[AnyRow]] = {}
    rows: list[AnyRow] = []
    all_read = True
    while ahead:
        _, _, _, number = heapq.heappop(ahead)
        group = groups[number]
        if len(rows) == limit or found.limit_of(group) is not None:
            all_read = False
            continue
        if number not in read:
            # The last one that was taken of the group is the limit's only if the loop ends there.
            read[number] = rows_of(connection, group, limit - len(rows) + 1)[::-1] if limit > 1 else [group.head]
        rows.append(read[number].pop())
        found.take(group, 1)
        if read[number]:
            following = read[number][-1]
            heapq.heappush(ahead, (group.rank, following.created_at, following.id.hex, number))
        elif limit == 1:
            all_read = False
    return rows, all_read


def _loads(
    running: Sequence[AnyRow],
    sent: Sequence[AnyRow],
    chosen: Mapping[UUID, Sequence[AnyRow]],
    weights: Mapping[UUID, float],
) -> dict[UUID, Load]:
    counts: dict[UUID, Counter[str]] = {}
    for row in running:
        own = counts.setdefault(row.workspace_id, Counter())
        own["running"] += row.total
        own["yielding"] += row.yielding
    for row in sent:
        own = counts.setdefault(row.workspace_id, Counter())
        is_ahead = row.queue == Queue.RECOVERED
        own["ahead" if is_ahead else "waiting"] += row.total
        own["overdue" if is_ahead else "late"] += row.late
    for id_, rows in chosen.items():
        counts.setdefault(id_, Counter())["unsent"] = len(rows)
    return {
        id_: Load(weight=weights[id_], is_new=any(row.started_at is None for row in chosen.get(id_, ())[:1]), **own)
        for id_, own in counts.items()
    }


# -- writing -----------------------------------------------------------------------------------------------


def _publish_alone(connection: Connection, groups: Sequence[Group], limit: int) -> list[RunMessage]:
    """Reserves the messages of suspects; they run in other workers, one at a time."""
    rows = [row for group in groups for row in rows_of(connection, group, limit)]
    return _reserve(connection, [(row.id, Queue.QUARANTINE) for row in rows[:limit]])


def _take(
    connection: Connection,
    ahead: Mapping[UUID, int],
    loads: Mapping[UUID, Load],
    chosen: dict[UUID, list[AnyRow]],
    window: Sequence[UUID],
    *,
    is_contested: bool,
) -> list[tuple[UUID, Queue]]:
    """Returns what to publish to which queue, in order; leaves the rest in `chosen`."""
    taken: list[tuple[UUID, Queue]] = []
    for rows in chosen.values():
        rows.reverse()
    for id_, count in ahead.items():
        late = _late_ids(connection, id_, min(count, loads[id_].late)) if loads[id_].late else []
        taken += [(one, Queue.RECOVERED) for one in late]
        own = chosen.get(id_, [])
        taken += [(own.pop().id, Queue.RECOVERED) for _ in range(min(count - len(late), len(own)))]
    for id_ in window:
        row = chosen[id_].pop()
        # Within its share a workspace's recovered runs are first too, but they must not delay others.
        resumes = row.queue in {Queue.RECOVERED, Queue.RESUME}
        queue = Queue.RESUME if resumes and (is_contested or row.queue == Queue.RESUME) else Queue(row.queue)
        taken.append((row.id, queue))
    return taken


def _late_ids(connection: Connection, workspace_id: UUID, limit: int) -> Sequence[UUID]:
    """Returns participants whose messages wait behind those of others, oldest first."""
    behind = (_p.c.workspace_id == workspace_id, _p.c.queue.in_([str(Queue.RUNS), str(Queue.RESUME)]))
    late = select(_p.c.id).where(is_sent, is_late, *behind).order_by(_p.c.created_at, _p.c.id).limit(limit)
    return connection.scalars(late).all()


def _reserve(connection: Connection, taken: Sequence[tuple[UUID, Queue]]) -> list[RunMessage]:
    """Marks these pending participants as published to their queues; returns their messages in the same order."""
    if not taken:
        return []
    lock, reserve = _reservation(connection.dialect.name)
    locked = set(connection.scalars(lock, {bulk_parameters.IDS_PARAM: [id_ for id_, _ in taken]}))
    reserved: list[UUID] = []
    for queue in dict.fromkeys(queue for _, queue in taken):
        ids = [id_ for id_, of in taken if of == queue and id_ in locked]
        reserved += connection.scalars(reserve, {bulk_parameters.IDS_PARAM: ids, "to": str(queue)}).all()
    places = {id_: place for place, (id_, _) in enumerate(taken)}
    return sorted(load_messages(connection, reserved), key=lambda message: places[message.participant_id])


@cache
def _reservation(dialect: str) -> tuple[Select[Any], ReturningUpdate[Any]]:
    """Returns the statement that locks given rows, and the one that marks them as published to the queue `to`."""
    requested = bulk_parameters.in_parameter(dialect, _p.c.id)
    lock = select(_p.c.id).where(requested, is_pending).order_by(_p.c.id).with_for_update(skip_locked=True)
    reserve = update(_p).where(requested, is_pending)
    queue = queue_of(_p.c.attempt, bindparam("to", type_=_p.c.queue.type))
    reserve = reserve.values(dispatched_at=store_clock(), dispatch_no=_p.c.dispatch_no + 1, queue=queue)
    return lock, reserve.returning(_p.c.id)


def _preempt(connection: Connection, workspace_id: UUID, count: int) -> int:
    """Asks `count` runs of a workspace to give up their slots at their next interaction; returns how many it asked.

    Those that never did come first, then those for which it is longest ago: none gives up its slot twice in a row.
    """
    candidates = (
        select(_p.c.id)
        .where(is_running, is_in_run_queue, _p.c.workspace_id == workspace_id, _p.c.yields == false())
        .order_by(_p.c.preempted_at.is_not(None), _p.c.preempted_at, _p.c.started_at.desc(), _p.c.id)
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    ids = connection.scalars(candidates).all()
    ask = (
        update(_p)
        .where(_p.c.id.in_(ids), is_running, _p.c.yields == false())
        .values(yields=true(), preempted_at=store_clock())
    )
    return connection.execute(ask).rowcount if ids else 0


def place_orphans(connection: Connection) -> int:
    """Sets `parent_id` of pending rows that the previous version created; returns how many. Repeatable."""
    place = update(_p).where(is_pending, _p.c.parent_id.is_(None))
    return connection.execute(place.values(parent_id=func.coalesce(_p.c.iteration_id, _p.c.ask_id))).rowcount
