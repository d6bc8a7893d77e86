"""Envelopes of participants, interactions and transcripts. Source: contract section 6."""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Outcome, Status, Time, optional_field
from understudy.envelopes.usage import USED, Usage


class Participant(Envelope):
    id: UUID
    alias: str = Field(description="Short id.")
    status: Status = Field(description="Status of the participant.")
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
    person_id: UUID
    person_name: str = Field(description="The person's name.")
    study_id: UUID | None = Field(description="Its study; null in an ask.")
    iteration_id: UUID | None = Field(description="Its iteration; null in an ask.")
    ask_id: UUID | None = Field(description="Its ask; null in a study.")
    round: int | None = Field(description="Round of its ask, from 1; null in a study.")
    interaction_count: int = Field(description="Interactions so far, inherited ones included.")
    max_interactions: int = Field(description="Its cap, inherited interactions included.")
    extended_from: UUID | None = Field(description="Source that it continues from, else null.")
    branched_at: int = Field(description="Index of its first own interaction = number of inherited ones.")
    instruction: str | None = Field(description="Instruction given by the extend.")
    attempt: int = Field(description="Workers lost since its last interaction.")
    error_kind: str | None = Field(description="Failure reason if failed, else null.")
    error_message: str | None = Field(description="Failure in words.")
    created_at: Time = Field(description="Creation time.")
    started_at: Time | None = Field(description="Time of the first claim.")
    finished_at: Time | None = Field(description="Time when it became terminal.")
    stopped_at: Time | None = Field(description="If cancelled, the time at which its run is known to have stopped.")
    age_seconds: float = Field(description="Seconds since creation, by the store's clock.")
    likely_stuck: bool = Field(description="Hint: it waits for something that needs attention.")
    stuck_reason: str | None = Field(description="Reason why it is likely stuck.")
    held_reason: str | None = Field(description="Pause or limit that keeps it pending, in words, else null.")
    usage: Usage | None = optional_field(f"{USED} Excludes inherited interactions.")


class ParticipantHighlight(Participant):
    """An item of view=per_participant."""

    highlight: str | None = Field(
        description="Latest thought with the strongest sentiment, positive or negative, over its lineage. "
        "Null before the first interaction."
    )
    highlight_index: int | None = Field(description="Index of the interaction with this thought.")
    highlight_sentiment: float | None = Field(description="Sentiment of this interaction, from -1 to 1.")


class Interaction(Envelope):
    index: int = Field(description="Index over the whole lineage, from 0.")
    participant_id: UUID = Field(description="Participant of the interaction; the source if inherited.")
    observation: dict[str, Any] = Field(
        description="Observation before it: url, title, status, problem, headings, text."
    )
    thought: str = Field(description="Thought of the person.")
    action: dict[str, Any] = Field(description="Action: kind, and if they apply element, target, value.")
    sentiment: float = Field(description="Sentiment from -1 to 1.")
    result: dict[str, Any] = Field(description="Result: url, title, status, problem; in a chat also text.")
    started_at: Time = Field(description="Start time.")
    duration_ms: int = Field(description="Duration in milliseconds.")
    usage: Usage | None = optional_field(USED)


class TranscriptItem(Envelope):
    role: Literal["user", "person", "environment", "system"] = Field(
        description="user: an instruction; person: an action; environment: an observation; system: the task."
    )
    content: str = Field(description="Message, observation or action in words.")
    thought: str | None = optional_field("In a chat, the thought behind the person's message.")
    index: int | None = optional_field("Index of the interaction; absent if none.")


class Transcript(Envelope):
    items: list[TranscriptItem] = Field(description="Items in order over the whole lineage.")


class ParticipantTranscript(Transcript):
    """An item of view=transcripts."""

    participant_id: UUID
    alias: str = Field(description="Short id.")
    person_name: str = Field(description="The person's name.")
    status: Status
    outcome: Outcome | None = Field(description="Outcome if completed, else null.")
