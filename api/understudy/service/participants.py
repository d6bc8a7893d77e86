"""Reads participants, their interactions and transcripts. Source: contract section 6."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from understudy.domain.errors import NotFound, ValidationError
from understudy.domain.fair_shares import MIN_SHARED_WINDOW
from understudy.domain.holds import Hold
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.domain.page_size import TextBudget
from understudy.domain.queues import WorkerKind, kind_for_queue
from understudy.domain.stuck_detection import ParticipantActivity, RecoveryTimes, stuck_reason
from understudy.domain.text import format_value
from understudy.envelopes.base import Page
from understudy.envelopes.participants import Interaction, Participant, Transcript, TranscriptItem
from understudy.envelopes.usage import Usage
from understudy.service import Service
from understudy.store import Connection, leases, limits, lineage, participants, usage
from understudy.store.aliases import find
from understudy.store.engine import AnyRow, store_time
from understudy.store.participants import ParticipantScope

SCOPE_KINDS = {"study_id": Kind.STUDY, "iteration_id": Kind.ITERATION, "ask_id": Kind.ASK}


def get_participant(service: Service, workspace_id: UUID, ref: str) -> Participant:
    """Returns one participant. Raises NotFound."""
    with service.store.read() as connection:
        id_ = _find(connection, workspace_id, ref).id
        row = participants.get_details(connection, workspace_id, id_)
        return describe(row, load_describe_context(service, connection, workspace_id, [row]))


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
    """Returns a page of all participants, or of one study, iteration, ask or round, in order of creation."""
    refs = {"study_id": study_id, "iteration_id": iteration_id, "ask_id": ask_id}
    named = {name: ref for name, ref in refs.items() if ref is not None}
    if len(named) > 1:
        raise ValidationError(f"Give at most one of {', '.join(refs)}; {' and '.join(named)} were given.")
    if round_number is not None and ask_id is None:
        raise ValidationError("round goes with ask_id only.")
    with service.store.read() as connection:
        found = {name: find(connection, workspace_id, SCOPE_KINDS[name], ref, name) for name, ref in named.items()}
        if round_number is not None:
            check_round(found["ask_id"], round_number)
        scope = ParticipantScope(**{name: row.id for name, row in found.items()}, round=round_number)
        rows, following = participants.page_of_participants(
            connection, workspace_id, scope, status=status, cursor=cursor, limit=limit
        )
        context = load_describe_context(service, connection, workspace_id, rows)
    return Page(items=[describe(row, context) for row in rows], next_cursor=following)


def check_round(ask: AnyRow, number: int) -> None:
    """Raises NotFound, naming how many rounds there are, unless the ask has this one."""
    if number > ask.round_count:
        raise NotFound(f"Ask {ask.alias} has no round {number}: it has {ask.round_count}.")


def get_interactions(
    service: Service, workspace_id: UUID, ref: str, *, own: bool, cursor: str | None, limit: int
) -> Page[Interaction]:
    """Returns a page of interactions in order: of the lineage, or only its own. Raises NotFound."""
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
    """Returns the run as text, over the lineage. Raises NotFound."""
    with service.store.read() as connection:
        row = _find(connection, workspace_id, ref)
        task = lineage.load_run_spec(connection, row.id).assignment["task"]
        return Transcript(items=transcript_of(connection, row, task))


def transcript_of(connection: Connection, row: AnyRow, task: str) -> list[TranscriptItem]:
    """Returns a participant's run as text: its assignment, then its interactions over the lineage.

    A transcript over MAX_VALUES_BYTES has all its items; its later texts are shortened.
    """
    instructions = lineage.instructions(connection, row.id)
    rows = lineage.interactions(connection, row.id, limit=row.interaction_count)
    assignment = TranscriptItem(role="system", content=task)
    budget = TextBudget()
    return [assignment, *(_shortened(item, budget) for item in _entries(rows, instructions))]


def _shortened(item: TranscriptItem, budget: TextBudget) -> TranscriptItem:
    item.content = budget.cut(item.content)
    item.thought = item.thought and budget.cut(item.thought)
    return item


def _entries(rows: Iterable[AnyRow], instructions: list[tuple[int, str]]) -> Iterator[TranscriptItem]:
    """Yields the interactions as text, with each instruction at its branch point."""
    pending = list(instructions)
    for row in rows:
        while pending and pending[0][0] <= row.ordinal:
            yield TranscriptItem(role="user", content=pending.pop(0)[1])
        yield from _exchange(row) if "text" in row.result else _step(row)
    for _, instruction in pending:
        yield TranscriptItem(role="user", content=instruction)


def _step(row: AnyRow) -> Iterator[TranscriptItem]:
    """Yields the observation, then thought and action."""
    yield TranscriptItem(role="environment", content=_observation_text(row.observation), index=row.ordinal)
    content = f"{row.thought}\n→ {action_text(row.action)}"
    yield TranscriptItem(role="person", content=content, index=row.ordinal)


def _exchange(row: AnyRow) -> Iterator[TranscriptItem]:
    """Yields the message of a chat, then its reply; earlier items hold the rest of the observation."""
    message = row.action.get("value") if row.action["kind"] == "say" else None
    if isinstance(message, str):
        yield TranscriptItem(role="person", content=message, thought=row.thought, index=row.ordinal)
    else:
        content = f"{row.thought}\n→ {action_text(row.action)}"
        yield TranscriptItem(role="person", content=content, index=row.ordinal)
        if row.action["kind"] in {"finish", "give_up"}:
            # There is no message, so there is no reply.
            return
    if reply := "\n".join(filter(None, (row.result.get("problem"), row.result["text"]))):
        yield TranscriptItem(role="environment", content=reply, index=row.ordinal)


def _observation_text(observation: dict[str, Any]) -> str:
    lines = (observation[name] for name in ("title", "url", "problem", "text"))
    return "\n".join(line for line in lines if line)


def action_text(action: dict[str, Any]) -> str:
    """Returns an action as readable text."""
    value = action.get("value")
    text = "" if value is None else format_value(value)
    words = (action["kind"].replace("_", " "), action.get("target"), text)
    return " · ".join(word for word in words if word)


def _find(connection: Connection, workspace_id: UUID, ref: str) -> AnyRow:
    return find(connection, workspace_id, Kind.PARTICIPANT, ref, "participant_id")


class DescribeContext(NamedTuple):
    """Facts shared by the participants of one answer: store time, live workers and model usage."""

    now: datetime
    live_workers: Mapping[WorkerKind, int]
    recovery_times: RecoveryTimes
    used: Mapping[UUID, AnyRow]
    #: By iteration or ask: why unpublished participants may not run yet.
    holds: Mapping[UUID, Hold]
    window_is_full: bool


def load_describe_context(
    service: Service, connection: Connection, workspace_id: UUID, rows: Sequence[AnyRow]
) -> DescribeContext:
    """Loads the context for these rows of `participants.select_details` from the store."""
    settings = service.settings
    waiting = [row.id for row in rows if _is_unpublished(row)]
    return DescribeContext(
        store_time(connection),
        leases.live_by_kind(connection),
        RecoveryTimes(settings.lease_ttl_s, settings.sweep_interval_s),
        usage.for_participants(connection, [row.id for row in rows]),
        limits.holds(connection, workspace_id, waiting, settings.default_limits) if waiting else {},
        bool(waiting) and limits.is_window_full(connection, MIN_SHARED_WINDOW),
    )


def _is_unpublished(row: AnyRow) -> bool:
    return row.status == str(Status.PENDING) and row.dispatched_at is None


def describe(row: AnyRow, context: DescribeContext) -> Participant:
    """Returns the envelope of a row of `participants.select_details`."""
    hold = context.holds.get(row.iteration_id or row.ask_id) if _is_unpublished(row) else None
    activity = ParticipantActivity(
        status=Status(row.status),
        idle_s=_seconds(context.now, row.moved_at or row.created_at),
        step_timeout_s=row.step_timeout_s,
        sent=row.dispatched_at is not None,
        hold=hold,
        window_is_full=context.window_is_full,
        kind=kind_for_queue(row.queue),
        stopping=row.stopped_at is None,
    )
    reason = stuck_reason(activity, context.live_workers, context.recovery_times)
    derived = {
        "age_seconds": _seconds(context.now, row.created_at),
        "likely_stuck": reason is not None,
        "stuck_reason": reason,
        "held_reason": None if hold is None else hold.sentence,
        "usage": describe_usage(context.used.get(row.id)),
    }
    return Participant.model_validate({**row._mapping, **derived})


def describe_usage(row: AnyRow | None) -> Usage | None:
    """Returns the envelope of usage sums, or of one interaction's usage; None without usage."""
    return None if row is None else Usage.model_validate(row, from_attributes=True)


def _seconds(now: datetime, since: datetime) -> float:
    return round(max((now - since).total_seconds(), 0), 3)
