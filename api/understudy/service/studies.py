"""Creates and reads studies, iterations and their results. Source: contract section 6."""

from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from string import ascii_uppercase
from typing import Any, TypeAlias
from uuid import UUID

from understudy import faults
from understudy.domain.errors import ValidationError
from understudy.domain.ids import Kind
from understudy.domain.lifecycle import Status
from understudy.domain.userinfo import shown_content
from understudy.envelopes.base import Page
from understudy.envelopes.participants import Participant, ParticipantHighlight, ParticipantTranscript
from understudy.envelopes.simulations import Dispatch
from understudy.envelopes.studies import (
    Iteration,
    Study,
    StudyFull,
    StudyPause,
    StudyPerParticipant,
    StudySummary,
    StudyTranscripts,
)
from understudy.operations.requests import DEFAULT_PAGE, IterationRequest, RunRequest, StudyRequest, StudyView
from understudy.service import Service
from understudy.service.call import Call
from understudy.service.content import check_iteration, check_success, time_limits
from understudy.service.dispatching import PreparedDispatch, dispatch_once, insert_run, resolve_people
from understudy.service.pages import take_items
from understudy.service.participants import describe, describe_usage, load_describe_context, transcript_of
from understudy.service.starts import Start, meaning_of, start_once
from understudy.store import Connection, lineage, participants, pauses, studies, usage
from understudy.store.aliases import find
from understudy.store.engine import AnyRow
from understudy.store.participants import ParticipantScope

StudyAnswer: TypeAlias = StudyPerParticipant | StudyTranscripts | StudySummary | StudyFull

#: Maximum interactions of a page of transcripts; a page with one participant may exceed it.
MAX_TRANSCRIPT_INTERACTIONS = 2_000


def create_study(call: Call, request: StudyRequest) -> tuple[StudyFull, Dispatch | None]:
    """Stores a study, with its first iteration and its run if they are given, in one transaction.

    A call repeated with its key returns the study of the first one. Raises ValidationError, NotFound, Conflict.
    """
    check_success(request.assignment.success)
    if request.iteration is not None:
        check_iteration(call.service.settings, request.modality, request.iteration)
    if request.run is not None:
        dispatched = dispatch_once(call, request, partial(_prepare_with_run, call, request, request.run), "run.commit")
        return get_full(call.service, call.workspace_id, str(dispatched.study_id)), dispatched

    def create(connection: Connection) -> StudyFull:
        start = Start("study_create", None, partial(meaning_of, request))
        answer = start_once(
            connection, call, start, request, lambda: {"study_id": str(_insert_study(call, connection, request)[0])}
        )
        return _full(connection, call.workspace_id, answer["study_id"])

    with faults.fault_site("create.commit"):
        return call.service.store.write(create), None


def _prepare_with_run(call: Call, request: StudyRequest, run: RunRequest, connection: Connection) -> PreparedDispatch:
    person_ids = resolve_people(call, connection, run)

    def meaning() -> dict[str, Any]:
        return meaning_of(request, run=meaning_of(run, person_ids=person_ids))

    def create() -> Dispatch:
        study_id, iteration_id = _insert_study(call, connection, request)
        iteration = find(connection, call.workspace_id, Kind.ITERATION, str(iteration_id), "iteration_id")
        return insert_run(call, connection, study_id, iteration, run, person_ids)

    return Start("study_create", None, meaning), create


def _insert_study(call: Call, connection: Connection, request: StudyRequest) -> tuple[UUID, UUID | None]:
    """Returns the ids of the new study and of its iteration."""
    study_id = studies.insert_study(
        connection,
        call.workspace_id,
        name=request.name,
        modality=request.modality,
        assignment=request.assignment.model_dump(exclude_none=True),
        questions=request.questions or [],
        max_running=request.max_running,
    )
    if request.iteration is None:
        return study_id, None
    return study_id, _insert_iteration(call, connection, study_id, request.iteration)


def add_iteration(call: Call, request: Any) -> Iteration:
    """Stores the next iteration of a study; a call repeated with its key returns the first one.

    Raises NotFound, ValidationError, Conflict.
    """
    workspace_id = call.workspace_id

    def create(connection: Connection) -> Iteration:
        study = find(connection, workspace_id, Kind.STUDY, request.study_id, "study_id")
        check_iteration(call.service.settings, study.modality, request)
        start = Start("study_add_iteration", study.id, partial(meaning_of, request, study_id=study.id))
        answer = start_once(
            connection,
            call,
            start,
            request,
            lambda: {"iteration_id": str(_insert_iteration(call, connection, study.id, request))},
        )
        return _iteration(find(connection, workspace_id, Kind.ITERATION, answer["iteration_id"], "iteration_id"))

    with faults.fault_site("create.commit"):
        return call.service.store.write(create)


def _insert_iteration(call: Call, connection: Connection, study_id: UUID, request: IterationRequest) -> UUID:
    return studies.insert_iteration(
        connection,
        call.workspace_id,
        study_id,
        content=request.content,
        max_interactions=request.max_interactions,
        mind=request.mind,
        **time_limits(call.service.settings, request)._asdict(),
    )


def pause_study(call: Call, request: Any) -> StudyPause:
    """Pauses a study: no participant of it starts, and those that run stop after their next interaction.

    Repeatable. Raises NotFound.
    """

    def pause(connection: Connection) -> StudyPause:
        study = find(connection, call.workspace_id, Kind.STUDY, request.study_id, "study_id")
        pauses.pause_study(connection, call.workspace_id, study.id)
        return _describe_pause(connection, call.workspace_id, study.id)

    with faults.fault_site("pause.commit"):
        return call.service.store.write(pause)


def resume_study(call: Call, request: Any) -> StudyPause:
    """Ends the pause of a study; its participants continue where they stopped. Repeatable. Raises NotFound."""

    def resume(connection: Connection) -> StudyPause:
        study = find(connection, call.workspace_id, Kind.STUDY, request.study_id, "study_id")
        pauses.resume_study(connection, call.workspace_id, study.id)
        return _describe_pause(connection, call.workspace_id, study.id)

    with faults.fault_site("pause.commit"):
        resumed = call.service.store.write(resume)
    call.service.publisher.enqueue_refill(resumed.pending_count)
    return resumed


def _describe_pause(connection: Connection, workspace_id: UUID, study_id: UUID) -> StudyPause:
    study = find(connection, workspace_id, Kind.STUDY, str(study_id), "study_id")
    counts = studies.status_counts(connection, workspace_id, study_id)
    return StudyPause(
        study_id=study_id,
        alias=study.alias,
        paused_at=study.paused_at,
        pending_count=counts[Status.PENDING],
        running_count=counts[Status.RUNNING],
    )


def list_studies(
    service: Service, workspace_id: UUID, cursor: str | None, limit: int, *, newest_first: bool
) -> Page[Study]:
    """Returns a page of studies, in order of creation or newest first."""
    with service.store.read() as connection:
        rows, following = studies.page_of_studies(connection, workspace_id, cursor, limit, newest_first=newest_first)
    return Page(
        items=[Study.model_validate(row, from_attributes=True) for row in rows],
        next_cursor=following,
    )


def get_study(
    service: Service,
    workspace_id: UUID,
    ref: str,
    view: StudyView,
    cursor: str | None = None,
    limit: int | None = None,
) -> StudyAnswer:
    """Returns a study in one of its views. Raises NotFound, ValidationError."""
    if view == "per_participant":
        return get_per_participant(service, workspace_id, ref, cursor, limit or DEFAULT_PAGE)
    if view == "transcripts":
        return get_transcripts(service, workspace_id, ref, cursor, limit or DEFAULT_PAGE)
    if cursor is not None or limit is not None:
        raise ValidationError(f"cursor and limit go with the views per_participant and transcripts; view is {view}.")
    return (get_full if view == "full" else get_summary)(service, workspace_id, ref)


def get_full(service: Service, workspace_id: UUID, ref: str) -> StudyFull:
    """Returns view=full: the study with its iterations. Raises NotFound."""
    with service.store.read() as connection:
        return _full(connection, workspace_id, ref)


def get_summary(service: Service, workspace_id: UUID, ref: str) -> StudySummary:
    """Returns view=summary: counts of statuses, outcomes and sentiment. Raises NotFound."""
    with service.store.read() as connection:
        return _summary(connection, find(connection, workspace_id, Kind.STUDY, ref, "study_id"))


def get_per_participant(
    service: Service, workspace_id: UUID, ref: str, cursor: str | None = None, limit: int = DEFAULT_PAGE
) -> StudyPerParticipant:
    """Returns view=per_participant: the summary and a page of rows. Raises NotFound, ValidationError."""
    with service.store.read() as connection:
        study = find(connection, workspace_id, Kind.STUDY, ref, "study_id")
        summary = _summary(connection, study)
        rows, following = _participants(connection, study, cursor, limit)
        strongest = lineage.highlights(connection, [row.id for row in rows])
        context = load_describe_context(service, connection, workspace_id, rows)
        described = take_items(_highlighted(describe(row, context), strongest.get(row.id)) for row in rows)
        if len(described) < len(rows):
            _, following = _participants(connection, study, cursor, len(described))
    return StudyPerParticipant(**summary.model_dump(), participants=described, next_cursor=following)


def _highlighted(participant: Participant, peak: AnyRow | None) -> ParticipantHighlight:
    return ParticipantHighlight(
        **participant.model_dump(),
        highlight=peak and peak.thought,
        highlight_index=peak and peak.ordinal,
        highlight_sentiment=peak and peak.sentiment,
    )


def get_transcripts(
    service: Service, workspace_id: UUID, ref: str, cursor: str | None = None, limit: int = DEFAULT_PAGE
) -> StudyTranscripts:
    """Returns view=transcripts: the summary and a page of transcripts. Raises NotFound, ValidationError.

    A page of long transcripts has fewer than `limit`, but at least one.
    """
    with service.store.read() as connection:
        study = find(connection, workspace_id, Kind.STUDY, ref, "study_id")
        summary = _summary(connection, study)
        rows, following = _participants(connection, study, cursor, limit)
        transcripts = take_items(
            ParticipantTranscript(
                participant_id=row.id,
                alias=row.alias,
                person_name=row.person_name,
                status=row.status,
                outcome=row.outcome,
                items=transcript_of(connection, row, study.assignment["task"]),
            )
            for row in rows[: _count_within_limit(rows)]
        )
        if len(transcripts) < len(rows):
            _, following = _participants(connection, study, cursor, len(transcripts))
    return StudyTranscripts(**summary.model_dump(), transcripts=transcripts, next_cursor=following)


def _count_within_limit(rows: list[AnyRow]) -> int:
    """Returns the number of leading `rows` whose transcripts fit into one page."""
    lengths: Iterator[int] = accumulate(row.interaction_count for row in rows)
    return max(sum(length <= MAX_TRANSCRIPT_INTERACTIONS for length in lengths), 1)


def _participants(
    connection: Connection, study: AnyRow, cursor: str | None, limit: int
) -> tuple[list[AnyRow], str | None]:
    return participants.page_of_participants(
        connection,
        study.workspace_id,
        ParticipantScope(study_id=study.id),
        status=None,
        cursor=cursor,
        limit=limit,
    )


def _full(connection: Connection, workspace_id: UUID, ref: str) -> StudyFull:
    row = find(connection, workspace_id, Kind.STUDY, ref, "study_id")
    iterations = list(map(_iteration, studies.list_iterations(connection, workspace_id, row.id)))
    study = Study.model_validate(row, from_attributes=True)
    return StudyFull(**study.model_dump(), iterations=iterations)


def _summary(connection: Connection, study: AnyRow) -> StudySummary:
    counts = studies.status_counts(connection, study.workspace_id, study.id)
    open_or_failed = sum(counts[status] for status in Status if status not in _COMPLETE_STATUSES)
    used = usage.sum_for_study(connection, study.id)
    today = usage.sum_for_workspace_today(connection, study.workspace_id) if used else None
    return StudySummary(
        study_id=study.id,
        alias=study.alias,
        name=study.name,
        participant_count=sum(counts.values()),
        **{f"{status}_count": count for status, count in counts.items()},
        outcomes=studies.outcome_counts(connection, study.workspace_id, study.id),
        sentiment=studies.sentiment_counts(connection, study.workspace_id, study.id),
        partial=open_or_failed > 0,
        usage=describe_usage(used),
        workspace_usage_today=describe_usage(today),
    )


#: A study whose participants all have these statuses is not `partial`.
_COMPLETE_STATUSES = frozenset({Status.COMPLETED, Status.CANCELLED})


def _iteration(row: AnyRow) -> Iteration:
    return Iteration(
        id=row.id,
        alias=row.alias,
        study_id=row.study_id,
        label=label(row.number),
        content=shown_content(row.content),
        max_interactions=row.max_interactions,
        mind=row.mind,
        step_timeout=row.step_timeout_s,
        run_timeout=row.run_timeout_s,
        created_at=row.created_at,
    )


def label(number: int) -> str:
    """Returns the label of the 1-indexed `number`: A, B, … Z, AA, AB, … like spreadsheet columns."""
    letters = ""
    while number:
        number, digit = divmod(number - 1, len(ascii_uppercase))
        letters = ascii_uppercase[digit] + letters
    return letters
