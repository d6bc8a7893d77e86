"""Deletes studies, asks and people for good, each in one transaction.

A deletion locks the workspace like everything that creates objects in it. A run or an extend that read the object
before then fails on its foreign key, is repeated (`store.failures`), and no longer finds the object.
"""

from uuid import UUID

from sqlalchemy import Connection, Table, delete, exists, func, literal, select, update

from understudy.domain.ids import Kind
from understudy.domain.lifecycle import ACTIVE
from understudy.store.events import last_position, lock_sequencer
from understudy.store.schema import Tables

_p = Tables.participant
_workspace = Tables.workspace

#: Rows that refer to a participant; they go before it.
_OWNED_TABLES = (Tables.outbox, Tables.event, Tables.usage, Tables.checkpoint, Tables.interaction)
#: Kind -> the column of participants that refers to it, and the tables of its other parts.
_PARTS: dict[Kind, tuple[str, tuple[tuple[Table, str], ...]]] = {
    Kind.STUDY: ("study_id", ((Tables.iteration, "study_id"), (Tables.study, "id"))),
    Kind.ASK: ("ask_id", ((Tables.round, "ask_id"), (Tables.ask, "id"))),
}


def delete_runs(connection: Connection, workspace_id: UUID, kind: Kind, id_: UUID) -> int | None:
    """Deletes a study or an ask of the workspace with everything in it; returns the number of its participants.

    Deletes nothing and returns None while a participant in it is active. Repeatable.
    """
    column, parts = _PARTS[kind]
    _lock(connection, workspace_id)
    within = _p.c[column] == id_
    active = exists(select(1).where(within, _p.c.status.in_([str(status) for status in sorted(ACTIVE)])))
    # The marker of the guard: no statement below runs unless this one has found no active participant.
    if connection.scalar(select(literal(1)).where(~active)) is None:
        return None
    participants = select(_p.c.id).where(within).scalar_subquery()
    connection.execute(
        update(_workspace)
        .where(_workspace.c.id == workspace_id)
        .values(last_position=last_position(connection, workspace_id))
    )
    for table in _OWNED_TABLES:
        connection.execute(delete(table).where(table.c.participant_id.in_(participants)))
    number = connection.execute(delete(_p).where(within)).rowcount
    for table, name in parts:
        connection.execute(delete(table).where(table.c[name] == id_))
    return number


def delete_person(connection: Connection, workspace_id: UUID, id_: UUID) -> bool:
    """Deletes a person of the workspace. Deletes nothing and returns False if the person has participants."""
    _lock(connection, workspace_id)
    person = Tables.person
    has_participants = exists(select(1).where(_p.c.person_id == person.c.id))
    statement = delete(person).where(person.c.id == id_, person.c.workspace_id == workspace_id, ~has_participants)
    return connection.execute(statement).rowcount > 0


def active_count(connection: Connection, kind: Kind, id_: UUID) -> int:
    """Returns the number of active participants in a study or an ask."""
    active = _p.c.status.in_([str(status) for status in sorted(ACTIVE)])
    return connection.scalar(select(func.count()).where(_p.c[_PARTS[kind][0]] == id_, active)) or 0


def _lock(connection: Connection, workspace_id: UUID) -> None:
    # In this order: what creates objects locks the workspace first, too.
    connection.execute(select(_workspace.c.id).where(_workspace.c.id == workspace_id).with_for_update(key_share=True))
    # No event of these participants gets a position meanwhile.
    lock_sequencer(connection, wait=True)
