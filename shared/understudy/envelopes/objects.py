"""The answers callers see, field by field. Source: contract sections 3, 5, 6 and 7.

Ids are UUIDs as strings, times RFC 3339 in UTC with `Z`. Fields may be added, never taken away or retyped.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import Field, field_validator

from shared.envelope import Envelope, Time, if_any, rfc3339

__all__ = ["Envelope", "Time", "if_any", "rfc3339"]

Item = TypeVar("Item")
Status = Literal["draft", "pending", "running", "completed", "failed", "cancelled"]
Outcome = Literal["succeeded", "gave_up", "cap_reached"]


# -- errors (section 7) ------------------------------------------------------------------------------------


class ErrorBody(Envelope):
    error: str = Field(description="What is wrong and what would be right.")
    error_code: str = Field(description="For programs; never changes.")
    retryable: bool = Field(description="May the same request, sent again, succeed?")
    suggestions: list[str] = Field(description="What to do next; may be empty.")


# -- simulation_cancel (section 3) -------------------------------------------------------------------------


class CancelledItem(Envelope):
    participant_id: UUID
    success: bool = Field(description="True: it is cancelled, for good.")
    status: str = Field(description="`cancelled`, or `[code] message` where success is false.")


class SkippedItem(Envelope):
    participant_id: UUID
    reason: Literal["already_terminal", "not_dispatched"] = Field(
        description="It had come to an end before, or it is a draft."
    )


class CancelSummary(Envelope):
    total: int = Field(description="Entries in both lists.")
    cancelled_count: int = Field(description="Entries with success.")
    skipped_count: int = Field(description="Entries in `skipped`.")
    failed_count: int | None = if_any("Entries without success; absent when there are none.")


class CancelEnvelope(Envelope):
    cancelled: list[CancelledItem] = Field(description="Who was to be stopped.")
    skipped: list[SkippedItem] = Field(description="Who needed no stop.")
    summary: CancelSummary


# -- RunStudyResponse (section 5) --------------------------------------------------------------------------


class Dispatch(Envelope):
    """Keys that don't apply are absent."""

    participant_ids: list[UUID] = Field(description="The new participants; of a wait those waited for.")
    aliases: list[str] | None = if_any("Their aliases, in the same order.")
    study_id: UUID | None = if_any("The study they are in.")
    iteration_id: UUID | None = if_any("The iteration they are in.")
    ask_id: UUID | None = if_any("The ask they are in.")
    round: int | None = if_any("The round of the ask.")
    extended_from: UUID | None = if_any("Of an extend: the source.")
    inherited_interactions: int | None = if_any("Of an extend: interactions taken over from the source.")
    max_interactions: int | None = if_any("Each one's cap, inherited interactions included.")


class ParticipantState(Envelope):
    participant_id: UUID
    status: Status
    outcome: Outcome | None = Field(description="Of a completed one: how it ended; else null.")
    interaction_count: int = Field(description="Interactions so far, inherited ones included.")
    error_kind: str | None = Field(description="Of a failed one: why; else null.")


class NextAction(Envelope):
    """How to go on; followed literally it gets the result."""

    tool: str = Field(description="The MCP tool to call next.")
    arguments: dict[str, Any] = Field(description="Its arguments; over REST the body.")
    rest: str = Field(description="The same as method and path.")
    cli: str = Field(description="The same as a command.")
    poll_after_seconds: int = Field(description="Who looks again instead of waiting: not before that.")
    why: str = Field(description="What is not over yet.")


class Progress(Envelope):
    done: int = Field(description="How many are at an end.")
    total: int = Field(description="Of how many.")


class RunSuccess(Envelope):
    ok: Literal[True] = Field(
        default=True, description="The call went well; how each run ended is in `participants`."
    )
    dispatch: Dispatch = Field(description="What was started.")
    participants: list[ParticipantState] = Field(
        description="How each stands; pending when it was just dispatched."
    )
    next_action: NextAction | None = if_any("How to get the result; absent when all are at an end.")


class RunFailure(Envelope):
    ok: Literal[False] = Field(default=False, description="Nothing was started, or the wait ran out.")
    error_kind: str = Field(description="What went wrong; the same as `error_code`.")
    error_code: str = Field(description="For programs; never changes.")
    error: str = Field(description="What is wrong and what would be right.")
    retryable: bool = Field(description="May the same request, sent again, succeed?")
    suggestions: list[str] = Field(description="What to do next; may be empty.")
    dispatch: Dispatch | None = if_any("What was started all the same.")
    participants: list[ParticipantState] | None = if_any("How each stands now.")
    progress: Progress | None = if_any("How far the wait came.")
    next_action: NextAction | None = if_any("How to wait on.")


RunStudyResponse = Annotated[RunSuccess | RunFailure, Field(discriminator="ok")]


# -- objects (section 6) -----------------------------------------------------------------------------------


class Page(Envelope, Generic[Item]):
    items: list[Item]
    next_cursor: str | None = Field(description="Where the list goes on; null at its end.")


class Person(Envelope):
    id: UUID
    alias: str = Field(description="Its short name.")
    name: str
    age: int
    country: str = Field(description="A name or a code.")
    language: str = Field(description="A name or a code.")
    traits: dict[str, Any] = Field(description="Leanings by name; numbers go from 0 to 1.")
    bio: str
    created_at: Time = Field(description="When it was made.")


class People(Envelope):
    """The answer to creating several people."""

    items: list[Person]


class Success(Envelope):
    url_contains: str | None = if_any("The page's address contains this.")
    text_contains: str | None = if_any("The page's text contains this, in capitals or not.")


class Assignment(Envelope):
    task: str = Field(description="What people are asked to do.")
    success: Success | None = if_any("When that counts as done; both given = both must hold.")


class Iteration(Envelope):
    id: UUID
    alias: str = Field(description="Its short name.")
    study_id: UUID
    label: str = Field(description="A, B, C…")
    content: dict[str, Any] = Field(description="What people act on.")
    max_interactions: int | None = Field(
        description="Most interactions of a participant; null: 20, unless the run says otherwise."
    )
    mind: str = Field(description="Who decides for the people.")
    step_timeout: float = Field(description="Seconds that one interaction may take.")
    run_timeout: float = Field(description="Seconds that a participant's own run may take.")
    created_at: Time = Field(description="When it was made.")


class Study(Envelope):
    id: UUID
    alias: str = Field(description="Its short name.")
    name: str
    modality: str = Field(description="How people act: interactive, chat, text.")
    status: str = Field(description="A note for its author; runs do not touch it.")
    assignment: Assignment
    questions: list[str] = Field(description="What you want to learn; kept with the study.")
    created_at: Time = Field(description="When it was made.")


class StudyFull(Study):
    """view=full"""

    iterations: list[Iteration] = Field(description="In order: A, B, C…")


class Usage(Envelope):
    """What asking language models took."""

    calls: int = Field(description="Answers asked for, tries that failed included.")
    input_tokens: int = Field(description="Tokens that models read.")
    output_tokens: int = Field(description="Tokens that they wrote.")
    seconds: float = Field(description="From question to answer, waits for a free place not counted.")
    cost: float | None = if_any("By the prices that are set for the model; absent without.")
    model: str | None = if_any("Of one interaction: who was asked.")

    @field_validator("seconds", "cost")
    @classmethod
    def _round(cls, value: float | None) -> float | None:
        # Sums of what was rounded before.
        return value if value is None else round(value, 9)


_USED = "What asking language models took; absent where none was asked."


class StudySummary(Envelope):
    """view=summary"""

    study_id: UUID
    alias: str = Field(description="Its short name.")
    name: str
    participant_count: int = Field(description="All of them; the next six are parts of it.")
    draft_count: int
    pending_count: int
    running_count: int
    completed_count: int
    failed_count: int
    cancelled_count: int
    outcomes: dict[str, int] = Field(description="How many completed ones had which outcome.")
    sentiment: dict[str, int] = Field(
        description="How completed participants felt at their last interaction."
    )
    partial: bool = Field(description="Something is not terminal, or failed.")
    usage: Usage | None = if_any(f"{_USED} Inherited interactions count where they were made.")
    workspace_usage_today: Usage | None = if_any(
        "What the whole workspace took since midnight (UTC); absent where this study took nothing."
    )


class Participant(Envelope):
    id: UUID
    alias: str = Field(description="Its short name.")
    status: Status = Field(description="Where it stands.")
    outcome: Outcome | None = Field(description="Of a completed one: how it ended; else null.")
    person_id: UUID
    person_name: str = Field(description="The person's name.")
    study_id: UUID | None = Field(description="Its study; null in an ask.")
    iteration_id: UUID | None = Field(description="Its iteration; null in an ask.")
    ask_id: UUID | None = Field(description="Its ask; null in a study.")
    round: int | None = Field(description="The round of its ask, from 1.")
    interaction_count: int = Field(description="Interactions so far, inherited ones included.")
    max_interactions: int = Field(description="Its cap, inherited interactions included.")
    extended_from: UUID | None = Field(description="The participant that it goes on from.")
    branched_at: int = Field(description="Index of its first own interaction: so many are inherited.")
    instruction: str | None = Field(description="What it was told before it went on.")
    attempt: int = Field(description="Workers lost since its last interaction.")
    error_kind: str | None = Field(description="Of a failed one: why; else null.")
    error_message: str | None = Field(description="The same in words.")
    created_at: Time = Field(description="When it was made.")
    started_at: Time | None = Field(description="When a worker first took it.")
    finished_at: Time | None = Field(description="When it came to its end.")
    stopped_at: Time | None = Field(description="Of a cancelled one: when its run is known to have stopped.")
    age_seconds: float = Field(description="Since it was created, by the store's clock.")
    likely_stuck: bool = Field(description="A hint: it waits for something that somebody has to look at.")
    stuck_reason: str | None = Field(description="Why it is likely stuck.")
    usage: Usage | None = if_any(f"{_USED} Without what it inherited.")


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

    participants: list[ParticipantHighlight] = Field(description="A page of them, in order of creation.")
    next_cursor: str | None = Field(description="Where the list goes on; null at its end.")


class Interaction(Envelope):
    index: int = Field(description="Counts from 0 over the whole lineage.")
    participant_id: UUID = Field(description="Whose it is; of an inherited one the source.")
    observation: dict[str, Any] = Field(
        description="What was seen before: url, title, status, problem, headings, text."
    )
    thought: str = Field(description="What went through the person's mind.")
    action: dict[str, Any] = Field(
        description="What was done: kind, and where they apply element, target, value."
    )
    sentiment: float = Field(description="How it felt, from -1 to 1.")
    result: dict[str, Any] = Field(description="Where it led: url, title, status, problem; in a chat text.")
    started_at: Time = Field(description="When it began.")
    duration_ms: int = Field(description="Milliseconds it took.")
    usage: Usage | None = if_any(_USED)


class TranscriptItem(Envelope):
    role: Literal["user", "person", "environment", "system"] = Field(
        description="user: an instruction; person; environment: what was seen; system: the task."
    )
    content: str = Field(description="What was said, seen or done, in words.")
    thought: str | None = if_any("In a chat: what the person thought when it said that.")
    index: int | None = if_any("Of which interaction; absent where it is of none.")


class Transcript(Envelope):
    items: list[TranscriptItem] = Field(description="In order, over the whole lineage.")


class ParticipantTranscript(Transcript):
    """A row of view=transcripts."""

    participant_id: UUID
    alias: str = Field(description="Its short name.")
    person_name: str = Field(description="The person's name.")
    status: Status
    outcome: Outcome | None = Field(description="Of a completed one: how it ended; else null.")


class StudyTranscripts(StudySummary):
    """view=transcripts: the summary of all, and a page of transcripts, one per participant."""

    transcripts: list[ParticipantTranscript] = Field(description="A page of them, in order of creation.")
    next_cursor: str | None = Field(description="Where the list goes on; null at its end.")
