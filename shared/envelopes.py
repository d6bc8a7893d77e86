"""The answers callers see, field by field. Source: contract sections 3, 5, 6 and 7.

Ids are UUIDs as strings, times RFC 3339 in UTC with `Z`. Fields may be added, never taken away or retyped.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


def rfc3339(moment: datetime) -> str:
    """UTC with `Z`, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Time = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": "Z$"}, mode="serialization"),
]
Status = Literal["draft", "pending", "running", "completed", "failed", "cancelled"]
Outcome = Literal["succeeded", "gave_up", "cap_reached"]
Item = TypeVar("Item")


class Envelope(BaseModel):
    """Base of all answers. Unknown fields are kept out of the way of older readers."""

    # What is always there is documented as always there.
    model_config = ConfigDict(extra="ignore", json_schema_serialization_defaults_required=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A field that is left out where it does not apply may be absent, and is never null."""
        schema = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        if handler.mode == "serialization":
            for name in [name for name, field in cls.model_fields.items() if field.exclude_if]:
                field = described["properties"][name]
                field.pop("default", None)
                if len(values := [one for one in field.get("anyOf", ()) if one != {"type": "null"}]) == 1:
                    del field["anyOf"]
                    field |= values[0]
                if name in described.get("required", ()):
                    described["required"].remove(name)
        return schema


# -- errors (section 7) ------------------------------------------------------------------------------------


class ErrorBody(Envelope):
    error: str = Field(description="What is wrong and what would be right.")
    error_code: str
    retryable: bool
    suggestions: list[str]


# -- simulation_cancel (section 3) -------------------------------------------------------------------------


class CancelledItem(Envelope):
    participant_id: UUID
    success: bool
    status: str = Field(description="`cancelled`, or `[code] message` where success is false.")


class SkippedItem(Envelope):
    participant_id: UUID
    reason: Literal["already_terminal", "not_dispatched"]


class CancelSummary(Envelope):
    total: int
    cancelled_count: int
    skipped_count: int
    failed_count: int | None = Field(default=None, exclude_if=lambda count: count is None)


class CancelEnvelope(Envelope):
    cancelled: list[CancelledItem]
    skipped: list[SkippedItem]
    summary: CancelSummary


# -- RunStudyResponse (section 5) --------------------------------------------------------------------------


class Dispatch(Envelope):
    """Keys that don't apply are absent."""

    participant_ids: list[UUID]
    aliases: list[str] | None = Field(default=None, exclude_if=lambda value: value is None)
    study_id: UUID | None = Field(default=None, exclude_if=lambda value: value is None)
    iteration_id: UUID | None = Field(default=None, exclude_if=lambda value: value is None)
    ask_id: UUID | None = Field(default=None, exclude_if=lambda value: value is None)
    round: int | None = Field(default=None, exclude_if=lambda value: value is None)
    extended_from: UUID | None = Field(default=None, exclude_if=lambda value: value is None)
    inherited_interactions: int | None = Field(default=None, exclude_if=lambda value: value is None)
    max_interactions: int | None = Field(default=None, exclude_if=lambda value: value is None)


class ParticipantState(Envelope):
    participant_id: UUID
    status: Status
    outcome: Outcome | None
    interaction_count: int
    error_kind: str | None


class NextAction(Envelope):
    """How to go on; followed literally it gets the result."""

    tool: str
    arguments: dict[str, Any]
    rest: str
    cli: str
    poll_after_seconds: int
    why: str


class Progress(Envelope):
    done: int
    total: int


class RunSuccess(Envelope):
    ok: Literal[True] = True
    dispatch: Dispatch
    participants: list[ParticipantState]
    next_action: NextAction | None = Field(default=None, exclude_if=lambda value: value is None)


class RunFailure(Envelope):
    ok: Literal[False] = False
    error_kind: str
    error_code: str
    error: str
    retryable: bool
    suggestions: list[str]
    dispatch: Dispatch | None = Field(default=None, exclude_if=lambda value: value is None)
    participants: list[ParticipantState] | None = Field(default=None, exclude_if=lambda value: value is None)
    progress: Progress | None = Field(default=None, exclude_if=lambda value: value is None)
    next_action: NextAction | None = Field(default=None, exclude_if=lambda value: value is None)


RunStudyResponse = Annotated[RunSuccess | RunFailure, Field(discriminator="ok")]


# -- objects (section 6) -----------------------------------------------------------------------------------


class Page(Envelope, Generic[Item]):
    items: list[Item]
    next_cursor: str | None


class Person(Envelope):
    id: UUID
    alias: str
    name: str
    age: int
    country: str
    language: str
    traits: dict[str, Any]
    bio: str
    created_at: Time


class People(Envelope):
    """The answer to creating several people."""

    items: list[Person]


class Success(Envelope):
    url_contains: str | None = Field(default=None, exclude_if=lambda value: value is None)
    text_contains: str | None = Field(default=None, exclude_if=lambda value: value is None)


class Assignment(Envelope):
    task: str
    success: Success | None = Field(default=None, exclude_if=lambda value: value is None)


class Iteration(Envelope):
    id: UUID
    alias: str
    study_id: UUID
    label: str
    content: dict[str, Any]
    max_interactions: int | None
    mind: str
    step_timeout: float
    run_timeout: float
    created_at: Time


class Study(Envelope):
    id: UUID
    alias: str
    name: str
    modality: str
    status: str
    assignment: Assignment
    questions: list[str]
    created_at: Time


class StudyFull(Study):
    """view=full"""

    iterations: list[Iteration]


class StudySummary(Envelope):
    """view=summary"""

    study_id: UUID
    alias: str
    name: str
    participant_count: int
    draft_count: int
    pending_count: int
    running_count: int
    completed_count: int
    failed_count: int
    cancelled_count: int
    outcomes: dict[str, int]
    sentiment: dict[str, int] = Field(
        description="How completed participants felt at their last interaction."
    )
    partial: bool = Field(description="Something is not terminal, or failed.")


class Participant(Envelope):
    id: UUID
    alias: str
    status: Status
    outcome: Outcome | None
    person_id: UUID
    person_name: str
    study_id: UUID | None
    iteration_id: UUID | None
    ask_id: UUID | None
    round: int | None
    interaction_count: int
    max_interactions: int
    extended_from: UUID | None
    branched_at: int
    instruction: str | None
    attempt: int
    error_kind: str | None
    error_message: str | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    stopped_at: Time | None
    age_seconds: float = Field(description="Since it was created, by the store's clock.")
    likely_stuck: bool = Field(description="A hint: it waits for something that somebody has to look at.")
    stuck_reason: str | None = Field(description="Why it is likely stuck.")


class ParticipantHighlight(Participant):
    """A row of view=per_participant."""

    highlight: str | None = Field(
        description="What it thought when it felt strongest, for better or worse, over its lineage; "
        "the latest such thought. Null before its first interaction."
    )
    highlight_index: int | None = Field(description="The interaction that it thought it in.")
    highlight_sentiment: float | None = Field(description="How it felt then, from -1 to 1.")


class StudyPerParticipant(StudySummary):
    """view=per_participant: the summary of all, and a page of them."""

    participants: list[ParticipantHighlight]
    next_cursor: str | None


class Interaction(Envelope):
    index: int
    participant_id: UUID
    observation: dict[str, Any]
    thought: str
    action: dict[str, Any]
    sentiment: float
    result: dict[str, Any] = Field(description="Where the action led: url, title, status, problem.")
    started_at: Time
    duration_ms: int


class TranscriptItem(Envelope):
    role: Literal["user", "person", "environment", "system"]
    content: str
    index: int | None = Field(default=None, exclude_if=lambda value: value is None)


class Transcript(Envelope):
    items: list[TranscriptItem]


class ParticipantTranscript(Transcript):
    """A row of view=transcripts."""

    participant_id: UUID
    alias: str
    person_name: str
    status: Status
    outcome: Outcome | None


class StudyTranscripts(StudySummary):
    """view=transcripts: the summary of all, and a page of transcripts, one per participant."""

    transcripts: list[ParticipantTranscript]
    next_cursor: str | None


# -- documentation -----------------------------------------------------------------------------------------


class DocEntry(Envelope):
    """A page of the documentation in the list of all."""

    slug: str
    title: str
    summary: str


class Doc(Envelope):
    slug: str
    title: str
    content: str = Field(description="Markdown. Links between pages are relative and show the page's slug.")
