"""Reading participants, their interactions and transcripts. Source: contract section 6."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from api.service import Service
from shared import envelopes
from shared.domain.errors import ValidationError
from shared.domain.ids import Kind
from shared.domain.lifecycle import Status
from shared.store import Connection, lineage, participants
from shared.store.aliases import find
from shared.store.engine import AnyRow, store_time
from shared.store.participants import Scope

SCOPE_KINDS = {"study_id": Kind.STUDY, "iteration_id": Kind.ITERATION, "ask_id": Kind.ASK}


def get_participant(service: Service, workspace_id: UUID, ref: str) -> envelopes.Participant:
    """One participant. Raises NotFound."""
    with service.store.read() as connection:
        id_ = _find(connection, workspace_id, ref).id
        return describe(participants.describe_one(connection, workspace_id, id_), store_time(connection))


def list_participants(
    service: Service,
    workspace_id: UUID,
    *,
    study_id: str | None,
    iteration_id: str | None,
    ask_id: str | None,
    status: Status | None,
    cursor: str | None,
    limit: int,
) -> envelopes.Page[envelopes.Participant]:
    """A page of participants, in order of creation: of one study, iteration or ask, or of all."""
    refs = {"study_id": study_id, "iteration_id": iteration_id, "ask_id": ask_id}
    given = {name: ref for name, ref in refs.items() if ref is not None}
    if len(given) > 1:
        raise ValidationError(f"Give at most one of {', '.join(refs)}; {' and '.join(given)} were given.")
    with service.store.read() as connection:
        found = {
            name: find(connection, workspace_id, SCOPE_KINDS[name], ref, name).id
            for name, ref in given.items()
        }
        rows, following = participants.page_of_participants(
            connection, workspace_id, Scope(**found), status=status, cursor=cursor, limit=limit
        )
        now = store_time(connection)
    return envelopes.Page(items=[describe(row, now) for row in rows], next_cursor=following)


def get_interactions(
    service: Service, workspace_id: UUID, ref: str, *, own: bool, cursor: str | None, limit: int
) -> envelopes.Page[envelopes.Interaction]:
    """A page of interactions over the lineage, or of its own ones only, in order. Raises NotFound."""
    after = -1 if cursor is None else _index(cursor)
    with service.store.read() as connection:
        id_ = _find(connection, workspace_id, ref).id
        rows = lineage.interactions(connection, id_, own=own, after=after, limit=limit + 1)
    items = [
        envelopes.Interaction.model_validate({**row._mapping, "index": row.ordinal}) for row in rows[:limit]
    ]
    return envelopes.Page(items=items, next_cursor=str(items[-1].index) if len(rows) > limit else None)


def _index(cursor: str) -> int:
    if cursor.isascii() and cursor.isdigit() and len(cursor) < 10:
        return int(cursor)
    raise ValidationError("cursor must be the next_cursor of an earlier page.")


def get_transcript(service: Service, workspace_id: UUID, ref: str) -> envelopes.Transcript:
    """The whole run in words, over the lineage. Raises NotFound."""
    with service.store.read() as connection:
        row = _find(connection, workspace_id, ref)
        assignment = lineage.load_run(connection, row.id).assignment
        given = lineage.instructions(connection, row.id)
        rows = lineage.interactions(connection, row.id, limit=row.interaction_count)
    task = [] if assignment is None else [envelopes.TranscriptItem(role="system", content=assignment["task"])]
    return envelopes.Transcript(items=[*task, *_entries(rows, given)])


def _entries(rows: Sequence[AnyRow], given: list[tuple[int, str]]) -> Iterator[envelopes.TranscriptItem]:
    """Interactions as said and seen; each instruction right after the point it branched at."""
    waiting = list(given)
    for row in rows:
        while waiting and waiting[0][0] <= row.ordinal:
            yield envelopes.TranscriptItem(role="user", content=waiting.pop(0)[1])
        yield envelopes.TranscriptItem(role="environment", content=_seen(row.observation), index=row.ordinal)
        yield envelopes.TranscriptItem(
            role="person", content=f"{row.thought}\n→ {_done(row.action)}", index=row.ordinal
        )
    for _, instruction in waiting:
        yield envelopes.TranscriptItem(role="user", content=instruction)


def _seen(observation: dict[str, Any]) -> str:
    lines = (observation[name] for name in ("title", "url", "problem", "text"))
    return "\n".join(line for line in lines if line)


def _done(action: dict[str, Any]) -> str:
    words = (action["kind"].replace("_", " "), action.get("target"), action.get("value"))
    return " · ".join(word for word in words if word)


def _find(connection: Connection, workspace_id: UUID, ref: str) -> AnyRow:
    return find(connection, workspace_id, Kind.PARTICIPANT, ref, "participant_id")


def describe(row: AnyRow, now: datetime) -> envelopes.Participant:
    """A participant as callers see it; `now` by the store's clock."""
    age_s = (now - row.created_at).total_seconds()
    return envelopes.Participant.model_validate({**row._mapping, "age_seconds": round(max(age_s, 0), 3)})
