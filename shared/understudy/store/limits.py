"""Pauses, and limits of participants that run at once: they delay and refuse nothing.

A published participant counts as running, because it may start at any moment.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, Select, and_, bindparam, case, func, literal_column, select, tuple_

from understudy.domain.fair_shares import LATE_S
from understudy.domain.holds import DefaultLimits, Hold, HoldKind
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue
from understudy.store import bulk_parameters
from understudy.store.engine import AnyRow, store_clock
from understudy.store.schema import Tables

_p = Tables.participant
_workspace = Tables.workspace
_study = Tables.study
_iteration = Tables.iteration

# Literals: SQLite uses no partial index for a value that is bound later.
is_pending = _p.c.status == literal_column(f"'{Status.PENDING}'")
is_running = _p.c.status == literal_column(f"'{Status.RUNNING}'")
is_unsent = and_(is_pending, _p.c.dispatched_at.is_(None))
is_sent = and_(is_pending, _p.c.dispatched_at.is_not(None))
#: All workspaces; this condition makes SQLite use the index of what is unsent.
in_index_order = tuple_(_p.c.workspace_id, _p.c.queue) > tuple_(UUID(int=0), "")
is_in_run_queue = _p.c.queue != str(Queue.QUARANTINE)
#: Published so long ago that it should have started, if it is first in its queue.
is_late = _p.c.dispatched_at < store_clock(-LATE_S)


class Member(Protocol):
    """Participants of one iteration or ask."""

    @property
    def workspace_id(self) -> UUID: ...

    @property
    def parent_id(self) -> UUID | None: ...


@dataclass
class Limits:
    """The pauses and limits of some workspaces, and how many more participants each limit lets run."""

    workspaces: Mapping[UUID, AnyRow]
    default_weight: float
    #: Site and study of each iteration.
    iterations: Mapping[UUID | None, AnyRow]
    #: Limit and room by the hold that it would be.
    rooms: dict[tuple[Any, HoldKind], tuple[int, int]] = field(default_factory=dict)

    @property
    def weights(self) -> dict[UUID, float]:
        return {id_: _in_force(row.weight, self.default_weight) for id_, row in self.workspaces.items()}

    def pause_of(self, member: Member) -> Hold | None:
        """Returns the pause that holds these participants back."""
        row = self.iterations.get(member.parent_id)
        if row is not None and row.paused_at is not None:
            return Hold(HoldKind.STUDY_PAUSED, study=row.alias)
        if self.workspaces[member.workspace_id].paused_at is not None:
            return Hold(HoldKind.WORKSPACE_PAUSED)
        return None

    def limit_of(self, member: Member) -> Hold | None:
        """Returns a limit that has no room for one more of these participants."""
        for key, kind in self._keys(member):
            limit, room = self.rooms[key, kind]
            if room <= 0:
                return Hold(kind, limit, site=key[1] if kind is HoldKind.SITE_LIMIT else "")
        return None

    def room_of(self, member: AnyRow) -> int:
        """Returns how many more of these participants the limits let run, at most their number."""
        rooms = [self.rooms[key][1] for key in self._keys(member)]
        return max(min([int(member.total), *rooms]), 0)

    def take(self, member: Member, count: int) -> None:
        """Lets `count` of these participants run."""
        for key in self._keys(member):
            limit, room = self.rooms[key]
            self.rooms[key] = (limit, room - count)

    def _keys(self, member: Member) -> list[tuple[Any, HoldKind]]:
        row = self.iterations.get(member.parent_id)
        keys: list[tuple[Any, HoldKind]] = [(member.workspace_id, HoldKind.WORKSPACE_LIMIT)]
        if row is not None:
            keys += [(row.study_id, HoldKind.STUDY_LIMIT), ((member.workspace_id, row.site), HoldKind.SITE_LIMIT)]
        return [key for key in keys if key in self.rooms]


def load(
    connection: Connection, members: Iterable[Member], holders: Sequence[AnyRow], defaults: DefaultLimits
) -> Limits:
    """Returns the limits that concern `members`, less the participants that run or are published (`holders`)."""
    everyone = [*members, *holders]
    of_workspaces, of_iterations = _select_settings(connection.dialect.name)
    ids = sorted({one.workspace_id for one in everyone})
    workspaces = connection.execute(of_workspaces, {bulk_parameters.IDS_PARAM: ids}).all()
    parents = sorted({one.parent_id for one in everyone if one.parent_id is not None})
    iterations = {row.id: row for row in connection.execute(of_iterations, {bulk_parameters.IDS_PARAM: parents})}
    limits = Limits({row.id: row for row in workspaces}, defaults.weight, iterations)
    found: dict[tuple[Any, HoldKind], int | None] = {
        (row.id, HoldKind.WORKSPACE_LIMIT): _in_force(row.max_running, defaults.running) or None for row in workspaces
    }
    found |= {(row.study_id, HoldKind.STUDY_LIMIT): row.max_running for row in iterations.values()}
    for one in everyone:
        row = iterations.get(one.parent_id)
        if row is not None and row.site is not None:
            found[(one.workspace_id, row.site), HoldKind.SITE_LIMIT] = defaults.per_site
    limits.rooms |= {key: (limit, limit) for key, limit in found.items() if limit is not None}
    for holder in holders:
        limits.take(holder, holder.total)
    return limits


@cache
def _select_settings(dialect: str) -> tuple[Select[Any], Select[Any]]:
    """Returns the statements that read the settings of given workspaces, and of given iterations with their studies."""
    of_workspaces = select(_workspace.c.id, _workspace.c.weight, _workspace.c.max_running, _workspace.c.paused_at)
    of_iterations = (
        select(_iteration.c.id, _iteration.c.site, _study.c.id.label("study_id"), _study.c.alias)
        .add_columns(_study.c.paused_at, _study.c.max_running)
        .join(_study, _study.c.id == _iteration.c.study_id)
    )
    return (
        of_workspaces.where(bulk_parameters.in_parameter(dialect, _workspace.c.id)),
        of_iterations.where(bulk_parameters.in_parameter(dialect, _iteration.c.id)),
    )


def _in_force(own: Any, default: Any) -> Any:
    return default if own is None else own


def running(connection: Connection, workspace_id: UUID | None = None) -> Sequence[AnyRow]:
    """Returns how many participants hold slots, and how many of them give them up, by workspace and parent."""
    return connection.execute(_select_running(workspace_id is not None), {"workspace": workspace_id}).all()


def published(connection: Connection, workspace_id: UUID | None = None) -> Sequence[AnyRow]:
    """Returns how many participants wait in queues of runs, and how many of them are late, by queue too."""
    return connection.execute(_select_published(workspace_id is not None), {"workspace": workspace_id}).all()


@cache
def _select_running(of_one: bool) -> Select[Any]:
    yielding = func.sum(case((_p.c.yields, 1), else_=0)).label("yielding")
    group = (_p.c.workspace_id, _p.c.parent_id)
    statement = select(*group, func.count().label("total"), yielding).where(is_running, is_in_run_queue)
    return _of_workspace(statement, of_one).group_by(*group)


@cache
def _select_published(of_one: bool) -> Select[Any]:
    late = func.sum(case((is_late, 1), else_=0)).label("late")
    group = (_p.c.workspace_id, _p.c.parent_id, _p.c.queue)
    statement = select(*group, func.count().label("total"), late).where(is_sent, is_in_run_queue)
    return _of_workspace(statement, of_one).group_by(*group)


def _of_workspace(statement: Select[Any], of_one: bool) -> Select[Any]:
    return statement.where(_p.c.workspace_id == bindparam("workspace")) if of_one else statement


def holds(connection: Connection, workspace_id: UUID, ids: Sequence[UUID], defaults: DefaultLimits) -> dict[UUID, Hold]:
    """Returns what holds back those of `ids` that are unpublished, by their iteration or ask."""
    listed = bulk_parameters.in_parameter(connection.dialect.name, _p.c.id)
    owned = _p.c.workspace_id == workspace_id
    waiting = select(_p.c.workspace_id, _p.c.parent_id).distinct().where(listed, owned, is_unsent)
    members = connection.execute(waiting, {bulk_parameters.IDS_PARAM: ids}).all()
    if not members:
        return {}
    holders = [*running(connection, workspace_id), *published(connection, workspace_id)]
    limits = load(connection, members, holders, defaults)
    found = {one.parent_id: limits.pause_of(one) or limits.limit_of(one) for one in members}
    return {parent_id: hold for parent_id, hold in found.items() if hold is not None}


def is_window_full(connection: Connection, size: int) -> bool:
    """Returns whether at least `size` run messages are published, so that others wait for room."""
    some = select(_p.c.id).where(is_sent).limit(size).subquery()
    return (connection.scalar(select(func.count()).select_from(some)) or 0) >= size
