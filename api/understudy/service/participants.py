"""Reading participants, their interactions and transcripts. Source: contract section 6."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from understudy.domain.errors import NotFound, ValidationError
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.domain.stuck_detection import ParticipantActivity, RecoveryTimes, stuck_reason
from understudy.domain.text import format_value
from understudy.envelopes.base import Page
from understudy.envelopes.participants import Interaction, Participant, Transcript, TranscriptItem
from understudy.envelopes.usage import Usage
from understudy.service import Service
from understudy.store import Connection, leases, lineage, participants, usage
from understudy.store.aliases import find
from understudy.store.engine import AnyRow, store_time
from understudy.store.participants import ParticipantScope

SCOPE_KINDS = {"study_id": Kind.STUDY, "iteration_id": Kind.ITERATION, "ask_id": Kind.ASK}


def get_participant(service: Service, workspace_id: UUID, ref: str) -> Participant:
    """One participant. Raises NotFound."""
    with service.store.read() as connection:
        id_ = _find(connection, workspace_id, ref).id
        row = participants.get_details(connection, workspace_id, id_)
        return describe(row, load_describe_context(service, connection, [id_]))


def list_participants(
    service: Service,
    workspace_id: UUID,
    *,
    study_id: str | None,
    iteration_id: str | None,
    ask_id: str | None,
    round_number: int | None,
    status: Status | None,
    cursor: str | None,
    limit: int,
) -> Page[Participant]:
    """A page of participants, in order of creation: of a study, iteration, ask or its round, or of all."""
    refs = {"study_id": study_id, "iteration_id": iteration_id, "ask_id": ask_id}
    given = {name: ref for name, ref in refs.items() if ref is not None}
    if len(given) > 1:
        raise ValidationError(f"Give at most one of {', '.join(refs)}; {' and '.join(given)} were given.")
    if round_number is not None and ask_id is None:
        raise ValidationError("round goes with ask_id only.")
    with service.store.read() as connection:
        found = {
            name: find(connection, workspace_id, SCOPE_KINDS[name], ref, name) for name, ref in given.items()
        }
        if round_number is not None:
            check_round(found["ask_id"], round_number)
        scope = ParticipantScope(**{name: row.id for name, row in found.items()}, round=round_number)
        rows, following = participants.page_of_participants(
            connection, workspace_id, scope, status=status, cursor=cursor, limit=limit
        )
        around = load_describe_context(service, connection, [row.id for row in rows])
    return Page(items=[describe(row, around) for row in rows], next_cursor=following)


def check_round(ask: AnyRow, number: int) -> None:
    """Raises NotFound, naming how many rounds there are, unless the ask has this one."""
    if number > ask.round_count:
        raise NotFound(f"There is no round {number}: {ask.alias} has {ask.round_count}.")


def get_interactions(
    service: Service, workspace_id: UUID, ref: str, *, own: bool, cursor: str | None, limit: int
) -> Page[Interaction]:
    """A page of interactions over the lineage, or of its own ones only, in order. Raises NotFound."""
    with service.store.read() as connection:
        id_ = _find(connection, workspace_id, ref).id
        rows, following = lineage.page_of_interactions(
            connection, workspace_id, id_, own=own, cursor=cursor, limit=limit
        )
        used = usage.for_interactions(connection, rows)
    items = [
        Interaction.model_validate(
            {
                **row._mapping,
                "index": row.ordinal,
                "usage": describe_usage(used.get((row.participant_id, row.ordinal))),
            }
        )
        for row in rows
    ]
    return Page(items=items, next_cursor=following)


def get_transcript(service: Service, workspace_id: UUID, ref: str) -> Transcript:
    """The whole run in words, over the lineage. Raises NotFound."""
    with service.store.read() as connection:
        row = _find(connection, workspace_id, ref)
        task = lineage.load_run_spec(connection, row.id).assignment["task"]
        return Transcript(items=transcript_of(connection, row, task))


def transcript_of(connection: Connection, row: AnyRow, task: str) -> list[TranscriptItem]:
    """A participant's run in words: what it was asked to do, then its journey over the lineage."""
    given = lineage.instructions(connection, row.id)
    rows = lineage.interactions(connection, row.id, limit=row.interaction_count)
    asked = TranscriptItem(role="system", content=task)
    return [asked, *_entries(rows, given)]


def _entries(rows: Sequence[AnyRow], given: list[tuple[int, str]]) -> Iterator[TranscriptItem]:
    """Interactions as said and seen; each instruction right after the point it branched at."""
    waiting = list(given)
    for row in rows:
        while waiting and waiting[0][0] <= row.ordinal:
            yield TranscriptItem(role="user", content=waiting.pop(0)[1])
        yield from _exchange(row) if "text" in row.result else _step(row)
    for _, instruction in waiting:
        yield TranscriptItem(role="user", content=instruction)


def _step(row: AnyRow) -> Iterator[TranscriptItem]:
    """What was seen, then what was made of it."""
    yield TranscriptItem(role="environment", content=_observation_text(row.observation), index=row.ordinal)
    content = f"{row.thought}\n→ {action_text(row.action)}"
    yield TranscriptItem(role="person", content=content, index=row.ordinal)


def _exchange(row: AnyRow) -> Iterator[TranscriptItem]:
    """In a chat: what was said, then what was replied. What was seen before stands above."""
    said = row.action.get("value") if row.action["kind"] == "say" else None
    if isinstance(said, str):
        yield TranscriptItem(role="person", content=said, thought=row.thought, index=row.ordinal)
    else:
        content = f"{row.thought}\n→ {action_text(row.action)}"
        yield TranscriptItem(role="person", content=content, index=row.ordinal)
        if row.action["kind"] in {"finish", "give_up"}:
            # Nothing was said to be answered.
            return
    if reply := "\n".join(filter(None, (row.result.get("problem"), row.result["text"]))):
        yield TranscriptItem(role="environment", content=reply, index=row.ordinal)


def _observation_text(observation: dict[str, Any]) -> str:
    lines = (observation[name] for name in ("title", "url", "problem", "text"))
    return "\n".join(line for line in lines if line)


def action_text(action: dict[str, Any]) -> str:
    """An action as somebody would tell it."""
    value = action.get("value")
    said = "" if value is None else format_value(value)
    words = (action["kind"].replace("_", " "), action.get("target"), said)
    return " · ".join(word for word in words if word)


def _find(connection: Connection, workspace_id: UUID, ref: str) -> AnyRow:
    return find(connection, workspace_id, Kind.PARTICIPANT, ref, "participant_id")


class DescribeContext(NamedTuple):
    """What the participants of one answer are judged by: the store's time and the fleet; what each used."""

    now: datetime
    live_workers: int
    patience: RecoveryTimes
    used: Mapping[UUID, AnyRow]


def load_describe_context(service: Service, connection: Connection, ids: Sequence[UUID]) -> DescribeContext:
    """How things are now, with these participants."""
    settings = service.settings
    return DescribeContext(
        store_time(connection),
        leases.count_live(connection),
        RecoveryTimes(settings.lease_ttl_s, settings.sweep_interval_s),
        usage.for_participants(connection, ids),
    )


def describe(row: AnyRow, around: DescribeContext) -> Participant:
    """A participant, as `participants.described` reads it, as callers see it."""
    standing = ParticipantActivity(
        status=Status(row.status),
        idle_s=_seconds(around.now, row.moved_at or row.created_at),
        step_timeout_s=row.step_timeout_s,
        sent=row.dispatched_at is not None,
    )
    reason = stuck_reason(standing, around.live_workers, around.patience)
    told = {
        "age_seconds": _seconds(around.now, row.created_at),
        "likely_stuck": reason is not None,
        "stuck_reason": reason,
        "usage": describe_usage(around.used.get(row.id)),
    }
    return Participant.model_validate({**row._mapping, **told})


def describe_usage(row: AnyRow | None) -> Usage | None:
    """Sums of usage, or one interaction's, as callers see them."""
    return None if row is None else Usage.model_validate(row, from_attributes=True)


def _seconds(now: datetime, since: datetime) -> float:
    return round(max((now - since).total_seconds(), 0), 3)
