"""Deletes studies, asks and people for good, the large ones in several transactions.

A deletion locks the workspace like everything that creates objects in it. A run or an extend that read the object
before then fails on its foreign key, is repeated (`store.failures`), and no longer finds the object.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Table, delete, exists, func, literal, select

from understudy.domain.ids import Kind
from understudy.domain.lifecycle import ACTIVE
from understudy.store import bulk_parameters
from understudy.store.events import lock_sequencer
from understudy.store.removal import batch_by_weight, lock_workspace, remove_participants, weight
from understudy.store.schema import Tables

_p = Tables.participant

#: Maximum participants that one transaction deletes, and about as many rows of all tables.
MAX_PARTICIPANTS, MAX_ROWS = 500, 5_000
#: Kind -> the column of participants that refers to it, and the tables of its other parts.
_PARTS: dict[Kind, tuple[str, tuple[tuple[Table, str], ...]]] = {
    Kind.STUDY: ("study_id", ((Tables.iteration, "study_id"), (Tables.study, "id"))),
    Kind.ASK: ("ask_id", ((Tables.round, "ask_id"), (Tables.ask, "id"))),
}


class DeletedBatch(NamedTuple):
    """The result of one transaction of a deletion."""

    participant_count: int
    #: The study or ask itself is deleted: nothing of it is left.
    is_complete: bool


def delete_batch(connection: Connection, workspace_id: UUID, kind: Kind, id_: UUID) -> DeletedBatch | None:
    """Deletes the newest participants of a study or an ask of the workspace, and with the last ones all the rest.

    Deletes nothing and returns None while a participant in it is active. Repeatable, also after a crash: each call
    continues where the last committed one stopped.
    """
    column, parts = _PARTS[kind]
    lock_workspace(connection, workspace_id)
    # No event of these participants gets a position meanwhile.
    lock_sequencer(connection, wait=True)
    within = _p.c[column] == id_
    active = exists(select(1).where(within, _p.c.status.in_([str(status) for status in sorted(ACTIVE)])))
    # The marker of the guard: no statement below runs unless this one has found no active participant.
    if connection.scalar(select(literal(1)).where(~active)) is None:
        return None
    number = sum(remove_participants(connection, workspace_id, ids)["participant"] for ids in _next(connection, within))
    if connection.scalar(select(_p.c.id).where(within).limit(1)) is not None:
        return DeletedBatch(number, is_complete=False)
    for table, name in parts:
        connection.execute(delete(table).where(table.c[name] == id_))
    return DeletedBatch(number, is_complete=True)


def _next(connection: Connection, within: object) -> Sequence[Sequence[UUID]]:
    """Returns the participants of the next transaction, as one batch or none: children come before their sources."""
    limit = MAX_PARTICIPANTS
    while True:
        newest = select(_p.c.id, weight.label("weight")).where(within)  # type: ignore[arg-type]
        rows = connection.execute(newest.order_by(_p.c.created_at.desc(), _p.c.id.desc()).limit(limit)).all()
        if not rows:
            return ()
        ids = next(batch_by_weight(rows, MAX_ROWS * limit // MAX_PARTICIPANTS))
        if removable := _without_sources(connection, ids):
            return (removable,)
        # The clock was set back: these children seem to be older than their sources.
        limit *= 2


def _without_sources(connection: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """Returns those of `ids` that no other participant continues from, at any depth."""
    of_sources = bulk_parameters.in_parameter(connection.dialect.name, _p.c.extended_from)
    links = select(_p.c.id, _p.c.extended_from).where(of_sources)
    sources = connection.execute(links, {bulk_parameters.IDS_PARAM: ids}).all()
    removable = set(ids)
    while kept := {source for child, source in sources if child not in removable} & removable:
        removable -= kept
    return [id_ for id_ in ids if id_ in removable]


def delete_person(connection: Connection, workspace_id: UUID, id_: UUID) -> bool:
    """Deletes a person of the workspace. Deletes nothing and returns False if the person has participants."""
    lock_workspace(connection, workspace_id)
    person = Tables.person
    has_participants = exists(select(1).where(_p.c.person_id == person.c.id))
    statement = delete(person).where(person.c.id == id_, person.c.workspace_id == workspace_id, ~has_participants)
    return connection.execute(statement).rowcount > 0


def active_count(connection: Connection, kind: Kind, id_: UUID) -> int:
    """Returns the number of active participants in a study or an ask."""
    active = _p.c.status.in_([str(status) for status in sorted(ACTIVE)])
    return connection.scalar(select(func.count()).where(_p.c[_PARTS[kind][0]] == id_, active)) or 0
