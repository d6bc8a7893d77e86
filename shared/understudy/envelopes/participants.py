"""A participant, its interactions and its transcript. Source: contract section 6."""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Outcome, Status, Time, optional_field
from understudy.envelopes.usage import USED, Usage


class Participant(Envelope):
    id: UUID
    alias: str = Field(description="Its short name.")
    status: Status = Field(description="Where it stands.")
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
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
    instruction: str | None = Field(description="Instruction given by the extend.")
    attempt: int = Field(description="Workers lost since its last interaction.")
    error_kind: str | None = Field(description="Failure reason if failed, else null.")
    error_message: str | None = Field(description="The same in words.")
    created_at: Time = Field(description="Creation time.")
    started_at: Time | None = Field(description="When a worker first took it.")
    finished_at: Time | None = Field(description="When it came to its end.")
    stopped_at: Time | None = Field(description="Of a cancelled one: when its run is known to have stopped.")
    age_seconds: float = Field(description="Since it was created, by the store's clock.")
    likely_stuck: bool = Field(description="A hint: it waits for something that somebody has to look at.")
    stuck_reason: str | None = Field(description="Why it is likely stuck.")
    usage: Usage | None = optional_field(f"{USED} Without what it inherited.")


class ParticipantHighlight(Participant):
    """A row of view=per_participant."""

    highlight: str | None = Field(
        description="What it thought when it felt strongest, for better or worse, over its lineage; "
        "the latest such thought. Null before its first interaction."
    )
    highlight_index: int | None = Field(description="The interaction that it thought it in.")
    highlight_sentiment: float | None = Field(description="How it felt then, from -1 to 1.")


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
    usage: Usage | None = optional_field(USED)


class TranscriptItem(Envelope):
    role: Literal["user", "person", "environment", "system"] = Field(
        description="user: an instruction; person; environment: what was seen; system: the task."
    )
    content: str = Field(description="What was said, seen or done, in words.")
    thought: str | None = optional_field("In a chat: what the person thought when it said that.")
    index: int | None = optional_field("Of which interaction; absent where it is of none.")


class Transcript(Envelope):
    items: list[TranscriptItem] = Field(description="In order, over the whole lineage.")


class ParticipantTranscript(Transcript):
    """A row of view=transcripts."""

    participant_id: UUID
    alias: str = Field(description="Its short name.")
    person_name: str = Field(description="The person's name.")
    status: Status
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
