"""A study, its iterations, and the views of study_get. Source: contract section 6."""

from typing import Any
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Time, optional_field
from understudy.envelopes.participants import ParticipantHighlight, ParticipantTranscript
from understudy.envelopes.usage import USED, Usage


class Success(Envelope):
    url_contains: str | None = optional_field("The page's address contains this.")
    text_contains: str | None = optional_field("The page's text contains this, in capitals or not.")


class Assignment(Envelope):
    task: str = Field(description="What people are asked to do.")
    success: Success | None = optional_field("When that counts as done; both given = both must hold.")


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
    created_at: Time = Field(description="Creation time.")


class Study(Envelope):
    id: UUID
    alias: str = Field(description="Its short name.")
    name: str
    modality: str = Field(description="How people act: interactive, chat, text.")
    status: str = Field(description="A note for its author; runs do not touch it.")
    assignment: Assignment
    questions: list[str] = Field(description="What you want to learn; kept with the study.")
    created_at: Time = Field(description="Creation time.")


class StudyFull(Study):
    """view=full"""

    iterations: list[Iteration] = Field(description="In order: A, B, C…")


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
    usage: Usage | None = optional_field(f"{USED} Inherited interactions count where they were made.")
    workspace_usage_today: Usage | None = optional_field(
        "What the whole workspace took since midnight (UTC); absent where this study took nothing."
    )


class StudyPerParticipant(StudySummary):
    """view=per_participant: the summary of all, and a page of them."""

    participants: list[ParticipantHighlight] = Field(description="A page of them, in order of creation.")
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


class StudyTranscripts(StudySummary):
    """view=transcripts: the summary of all, and a page of transcripts, one per participant."""

    transcripts: list[ParticipantTranscript] = Field(description="A page of them, in order of creation.")
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")
