"""Envelopes of studies, iterations and the views of study_get. Source: contract section 6."""

from typing import Any
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Time, optional_field
from understudy.envelopes.participants import ParticipantHighlight, ParticipantTranscript
from understudy.envelopes.simulations import RunStudyResponse
from understudy.envelopes.usage import USED, Usage


class ElementCondition(Envelope):
    role: str = Field(description="Role: button, checkbox, combobox, heading, link, radio or textbox.")
    name: str = Field(description="Part of its name, ignoring case.")


class Success(Envelope):
    url_contains: str | None = optional_field("Text that the page's address must contain.")
    text_contains: str | None = optional_field(
        "Text that the page must contain by itself, ignoring case; what the participant typed does not count."
    )
    url_matches: str | None = optional_field("RE2 pattern that a part of the page's address must match.")
    element: ElementCondition | None = optional_field("Element that the page must have.")
    text_absent: str | None = optional_field("Text that the page must not contain, ignoring case.")


class Assignment(Envelope):
    task: str = Field(description="Task for the people.")
    success: Success | None = optional_field("Success condition; all given fields must hold.")


class Iteration(Envelope):
    id: UUID
    alias: str = Field(description="Short id.")
    study_id: UUID
    label: str = Field(description="Label: A, B, C…")
    content: dict[str, Any] = Field(description="Content that people act on.")
    max_interactions: int | None = Field(description="Cap of a participant; null: 20, unless the run sets one.")
    mind: str = Field(description="Mind that decides for the people.")
    step_timeout: float = Field(description="Maximum seconds of one interaction.")
    run_timeout: float = Field(description="Maximum seconds of a participant's own run.")
    created_at: Time = Field(description="Creation time.")


class Study(Envelope):
    id: UUID
    alias: str = Field(description="Short id.")
    name: str
    modality: str = Field(description="Modality: interactive, chat or text.")
    status: str = Field(description="Authoring status; runs do not change it.")
    assignment: Assignment
    questions: list[str] = Field(description="Questions that you want answered; stored with the study.")
    max_running: int | None = Field(description="Maximum participants that run at once; null: no limit.")
    paused_at: Time | None = Field(description="Time from which it is paused, else null.")
    created_at: Time = Field(description="Creation time.")


class StudyPause(Envelope):
    """The response to study_pause and study_resume."""

    study_id: UUID
    alias: str = Field(description="Short id.")
    paused_at: Time | None = Field(description="Time from which it is paused; null: it runs.")
    pending_count: int = Field(description="Participants that wait.")
    running_count: int = Field(description="Participants that run; in a paused study up to their next interaction.")


class StudyFull(Study):
    """view=full"""

    iterations: list[Iteration] = Field(description="Iterations in order: A, B, C…")


class StudyCreated(StudyFull):
    """The response to study_create."""

    run: RunStudyResponse | None = optional_field("Result of `run`, if the request had one.")


class StudySummary(Envelope):
    """view=summary"""

    study_id: UUID
    alias: str = Field(description="Short id.")
    name: str
    participant_count: int = Field(description="All participants; the sum of the next six counts.")
    draft_count: int
    pending_count: int
    running_count: int
    completed_count: int
    failed_count: int
    cancelled_count: int
    outcomes: dict[str, int] = Field(description="Completed participants by outcome.")
    sentiment: dict[str, int] = Field(description="Completed participants by sentiment of their last interaction.")
    partial: bool = Field(description="True if a participant is not terminal or has failed.")
    usage: Usage | None = optional_field(f"{USED} Inherited interactions count for the study that made them.")
    workspace_usage_today: Usage | None = optional_field(
        "Usage of the whole workspace since midnight (UTC); absent if this study has no usage."
    )


class StudyPerParticipant(StudySummary):
    """view=per_participant: the summary and a page of participants."""

    participants: list[ParticipantHighlight] = Field(description="One page, in order of creation.")
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


class StudyTranscripts(StudySummary):
    """view=transcripts: the summary and a page of transcripts, one per participant."""

    transcripts: list[ParticipantTranscript] = Field(description="One page, in order of creation.")
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")
