"""Pauses of studies and workspaces: what is paused gets no new run messages, and its runs give up their slots.

Participants keep their status and resume from their last interaction. A pause waits for a refill of the window that
is in progress, so that nothing is published afterwards.
"""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, false, null, select, true, update

from understudy.domain.lifecycle import Status
from understudy.store import window
from understudy.store.engine import store_clock
from understudy.store.schema import Tables

_p = Tables.participant
_study = Tables.study
_workspace = Tables.workspace
_is_running = _p.c.status == str(Status.RUNNING)


class Paused(NamedTuple):
    """The participants that a pause affected at once."""

    #: They give up their slot at their next interaction.
    yielding: int
    #: Their messages became void.
    withdrawn: int


def pause_study(connection: Connection, workspace_id: UUID, study_id: UUID) -> Paused:
    """Pauses a study of this workspace; repeatable, and a repeat keeps the time of the first pause."""
    _set_paused(connection, _study, and_(_study.c.id == study_id, _study.c.workspace_id == workspace_id))
    return _hold(connection, and_(_p.c.study_id == study_id, _p.c.workspace_id == workspace_id))


def resume_study(connection: Connection, workspace_id: UUID, study_id: UUID) -> None:
    """Ends the pause of a study of this workspace; no effect if it is not paused."""
    _set_running(
        connection,
        _study,
        and_(_study.c.id == study_id, _study.c.workspace_id == workspace_id),
        and_(_p.c.study_id == study_id, _p.c.workspace_id == workspace_id),
        select(_workspace.c.id).where(_workspace.c.id == workspace_id, _workspace.c.paused_at.is_not(None)).exists(),
    )


def pause_workspace(connection: Connection, workspace_id: UUID) -> Paused:
    """Pauses a workspace; repeatable, and a repeat keeps the time of the first pause."""
    _set_paused(connection, _workspace, _workspace.c.id == workspace_id)
    return _hold(connection, _p.c.workspace_id == workspace_id)


def resume_workspace(connection: Connection, workspace_id: UUID) -> None:
    """Ends the pause of a workspace; its paused studies stay paused. No effect if it is not paused."""
    _set_running(
        connection,
        _workspace,
        _workspace.c.id == workspace_id,
        _p.c.workspace_id == workspace_id,
        select(_study.c.id).where(_study.c.id == _p.c.study_id, _study.c.paused_at.is_not(None)).exists(),
    )


def _set_paused(connection: Connection, table: Any, which: ColumnElement[bool]) -> None:
    window.serialize(connection)
    connection.execute(
        update(table)
        .where(which)
        .values(paused_at=case((table.c.paused_at.is_(None), store_clock()), else_=table.c.paused_at))
    )


def _hold(connection: Connection, which: ColumnElement[bool]) -> Paused:
    active = _p.c.status.in_([str(Status.PENDING), str(Status.RUNNING)])
    is_sent = _p.c.dispatched_at.is_not(None)
    rows = connection.execute(
        update(_p)
        .where(which, active, is_sent | _is_running)
        # A claim in progress decides which of the two it is.
        .values(yields=_is_running, dispatched_at=case((_is_running, _p.c.dispatched_at), else_=null()))
        .returning(_p.c.status)
    ).all()
    yielding = sum(row.status == str(Status.RUNNING) for row in rows)
    return Paused(yielding, len(rows) - yielding)


def _set_running(
    connection: Connection,
    table: Any,
    which: ColumnElement[bool],
    participants: ColumnElement[bool],
    is_paused_otherwise: ColumnElement[bool],
) -> None:
    window.serialize(connection)
    connection.execute(update(table).where(which).values(paused_at=null()))
    keep = update(_p).where(participants, _is_running, _p.c.yields == true(), ~is_paused_otherwise)
    connection.execute(keep.values(yields=false()))
