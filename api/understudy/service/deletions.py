"""Implements study_delete, ask_delete and person_delete. Source: contract section 6."""

from typing import Any

from understudy.domain.errors import Conflict
from understudy.domain.ids import Kind
from understudy.envelopes.deletions import Deleted
from understudy.service.call import Call
from understudy.store import Connection, deletion
from understudy.store.aliases import find


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
    noun = kind.name.lower()

    def work(connection: Connection) -> Deleted:
        row = find(connection, call.workspace_id, kind, ref, f"{noun}_id")
        number = deletion.delete_runs(connection, call.workspace_id, kind, row.id)
        if number is None:
            active = deletion.active_count(connection, kind, row.id)
            raise Conflict(
                f"{row.alias} has {active} pending or running participants.",
                suggestions=(f"Cancel them first: understudy cancel --{noun} {row.alias}, or simulation_cancel.",),
            )
        return Deleted(id=row.id, alias=row.alias, participant_count=number)

    return call.service.store.write(work)
