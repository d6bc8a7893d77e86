"""Studies and iterations, and what came of them. Source: contract section 6."""

from string import ascii_uppercase
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from api.requests import IterationRequest, StudyRequest
from api.service import Service
from api.service.participants import describe
from shared import envelopes, faults
from shared.domain.errors import ValidationError
from shared.domain.ids import Kind
from shared.domain.lifecycle import Status
from shared.plugins import environments, minds
from shared.store import Connection, participants, studies
from shared.store.aliases import find
from shared.store.engine import AnyRow, store_time

MAX_URL_LENGTH = 2_000
#: Characters of a wrong value that are repeated to whoever sent it.
MAX_SHOWN = 100


def create_study(service: Service, workspace_id: UUID, request: StudyRequest) -> envelopes.StudyFull:
    """Store a study, with its first iteration if one is given. Raises ValidationError."""
    if request.iteration is not None:
        check_iteration(request.modality, request.iteration)

    def create(connection: Connection) -> envelopes.StudyFull:
        study_id = studies.insert_study(
            connection,
            workspace_id,
            name=request.name,
            modality=request.modality,
            assignment=request.assignment.model_dump(exclude_none=True),
            questions=request.questions or [],
        )
        if request.iteration is not None:
            _insert_iteration(connection, workspace_id, study_id, request.iteration)
        return _full(connection, workspace_id, str(study_id))

    with faults.around("create.commit"):
        return service.store.write(create)


def add_iteration(
    service: Service, workspace_id: UUID, study_ref: str, request: IterationRequest
) -> envelopes.Iteration:
    """Store the next iteration of a study. Raises NotFound, ValidationError."""

    def create(connection: Connection) -> envelopes.Iteration:
        study = find(connection, workspace_id, Kind.STUDY, study_ref, "study_id")
        check_iteration(study.modality, request)
        id_ = _insert_iteration(connection, workspace_id, study.id, request)
        return _iteration(find(connection, workspace_id, Kind.ITERATION, str(id_), "iteration_id"))

    with faults.around("create.commit"):
        return service.store.write(create)


def check_iteration(modality: str, request: IterationRequest) -> None:
    """Is there such an environment for this modality, and such a mind? Raises ValidationError."""
    content = request.content
    fitting = sorted(environments(modality))
    environment = content.get("environment")
    if environment not in fitting:
        raise ValidationError(
            f"content.environment {_shown(environment)} does not fit modality {modality!r}; "
            f"there is {', '.join(fitting) or 'none for it here'}."
        )
    if environment == "web":
        _check_web(content)
    if request.mind not in minds():
        raise ValidationError(f"There is no mind {request.mind!r}; there is {', '.join(sorted(minds()))}.")


def _check_web(content: dict[str, Any]) -> None:
    if unknown := sorted(set(content) - {"environment", "url"}):
        raise ValidationError(
            f"content of a web environment has environment and url, not {_shown(unknown[0])}."
        )
    url = content.get("url")
    if not isinstance(url, str) or not _is_web_address(url):
        raise ValidationError(
            f"content.url must be an http or https address of at most {MAX_URL_LENGTH:,} characters, "
            "like https://shop.example/."
        )


def _shown(given: object) -> str:
    """What was given, as it is told back: it may be anything, of any size."""
    return repr(given)[:MAX_SHOWN]


def _is_web_address(url: str) -> bool:
    if len(url) > MAX_URL_LENGTH or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port_is_fine


def _insert_iteration(
    connection: Connection, workspace_id: UUID, study_id: UUID, request: IterationRequest
) -> UUID:
    return studies.insert_iteration(
        connection,
        workspace_id,
        study_id,
        content=request.content,
        max_interactions=request.max_interactions,
        mind=request.mind,
        step_timeout_s=request.step_timeout,
        run_timeout_s=request.run_timeout,
    )


def list_studies(
    service: Service, workspace_id: UUID, cursor: str | None, limit: int
) -> envelopes.Page[envelopes.Study]:
    """A page of studies, in order of creation."""
    with service.store.read() as connection:
        rows, following = studies.page_of_studies(connection, workspace_id, cursor, limit)
    return envelopes.Page(
        items=[envelopes.Study.model_validate(row, from_attributes=True) for row in rows],
        next_cursor=following,
    )


def get_full(service: Service, workspace_id: UUID, ref: str) -> envelopes.StudyFull:
    """view=full: the study with its iterations. Raises NotFound."""
    with service.store.read() as connection:
        return _full(connection, workspace_id, ref)


def get_summary(service: Service, workspace_id: UUID, ref: str) -> envelopes.StudySummary:
    """view=summary: how many stand where, and how they felt. Raises NotFound."""
    with service.store.read() as connection:
        return _summary(connection, workspace_id, ref)


def get_per_participant(service: Service, workspace_id: UUID, ref: str) -> envelopes.StudyPerParticipant:
    """view=per_participant: the summary, and a row for each. Raises NotFound."""
    with service.store.read() as connection:
        summary = _summary(connection, workspace_id, ref)
        rows = participants.with_highlights(connection, workspace_id, summary.study_id)
        now = store_time(connection)
    described = [
        envelopes.ParticipantHighlight(**describe(row, now).model_dump(), highlight=row.highlight)
        for row in rows
    ]
    return envelopes.StudyPerParticipant(**summary.model_dump(), participants=described)


def _full(connection: Connection, workspace_id: UUID, ref: str) -> envelopes.StudyFull:
    row = find(connection, workspace_id, Kind.STUDY, ref, "study_id")
    iterations = [_iteration(one) for one in studies.iterations_of(connection, workspace_id, row.id)]
    study = envelopes.Study.model_validate(row, from_attributes=True)
    return envelopes.StudyFull(**study.model_dump(), iterations=iterations)


def _summary(connection: Connection, workspace_id: UUID, ref: str) -> envelopes.StudySummary:
    row = find(connection, workspace_id, Kind.STUDY, ref, "study_id")
    counts = studies.status_counts(connection, workspace_id, row.id)
    open_or_failed = sum(counts[status] for status in Status if status not in _SETTLED)
    return envelopes.StudySummary(
        study_id=row.id,
        alias=row.alias,
        name=row.name,
        participant_count=sum(counts.values()),
        **{f"{status}_count": count for status, count in counts.items()},
        outcomes=studies.outcome_counts(connection, workspace_id, row.id),
        sentiment=studies.sentiment_counts(connection, workspace_id, row.id),
        partial=open_or_failed > 0,
    )


#: With these alone, a study's results are whole.
_SETTLED = frozenset({Status.COMPLETED, Status.CANCELLED})


def _iteration(row: AnyRow) -> envelopes.Iteration:
    return envelopes.Iteration(
        id=row.id,
        alias=row.alias,
        study_id=row.study_id,
        label=label(row.number),
        content=row.content,
        max_interactions=row.max_interactions,
        mind=row.mind,
        step_timeout=row.step_timeout_s,
        run_timeout=row.run_timeout_s,
        created_at=row.created_at,
    )


def label(number: int) -> str:
    """A, B, … Z, AA, AB, … as spreadsheets count their columns; from 1."""
    letters = ""
    while number:
        number, digit = divmod(number - 1, len(ascii_uppercase))
        letters = ascii_uppercase[digit] + letters
    return letters
