"""Implements study_delete, ask_delete and person_delete. Source: contract section 6."""

from functools import partial
from typing import Any

from understudy.domain.errors import Conflict
from understudy.domain.ids import Kind
from understudy.envelopes.deletions import Deleted
from understudy.service.call import Call
from understudy.store import Connection, deletion
from understudy.store.aliases import find
from understudy.store.engine import AnyRow, Store


def delete_study(call: Call, request: Any) -> Deleted:
    """Deletes a study with everything in it. Raises NotFound, and Conflict while a participant is active."""
    return _delete_runs(call, Kind.STUDY, request.study_id)


def delete_ask(call: Call, request: Any) -> Deleted:
    """Deletes an ask with everything in it. Raises NotFound, and Conflict while a participant is active."""
    return _delete_runs(call, Kind.ASK, request.ask_id)


def delete_person(call: Call, request: Any) -> Deleted:
    """Deletes a person. Raises NotFound, and Conflict while the person has participants."""

    def work(connection: Connection) -> Deleted:
        row = find(connection, call.workspace_id, Kind.PERSON, request.person_id, "person_id")
        if not deletion.delete_person(connection, call.workspace_id, row.id):
            raise Conflict(
                f"{row.alias} takes part in studies or asks.",
                suggestions=("Delete these studies and asks first.",),
            )
        return Deleted(id=row.id, alias=row.alias, participant_count=0)

    return call.service.store.write(work)


def _delete_runs(call: Call, kind: Kind, ref: str) -> Deleted:
    """Deletes in bounded transactions. After a crash between two, a repetition deletes the rest."""
    noun, store = kind.name.lower(), call.service.store
    with store.read() as connection:
        row = find(connection, call.workspace_id, kind, ref, f"{noun}_id")
    deleted_count = 0
    while True:
        batch = store.write(partial(deletion.delete_batch, workspace_id=call.workspace_id, kind=kind, id_=row.id))
        if batch is None:
            raise _conflict(store, kind, row, deleted_count)
        deleted_count += batch.participant_count
        if batch.is_complete:
            return Deleted(id=row.id, alias=row.alias, participant_count=deleted_count)


def _conflict(store: Store, kind: Kind, row: AnyRow, deleted_count: int) -> Conflict:
    with store.read() as connection:
        active = deletion.active_count(connection, kind, row.id)
    noun = kind.name.lower()
    before = f" They began during the deletion, which had deleted {deleted_count:,} others." if deleted_count else ""
    return Conflict(
        f"{row.alias} has {active} pending or running participants.{before}",
        suggestions=(f"Cancel them first: understudy cancel --{noun} {row.alias}, or simulation_cancel.",),
    )
