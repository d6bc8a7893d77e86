"""An event as callers see it. Source: contract section 6."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Outcome, Status, Time, optional_field


class EventData(Envelope):
    """What an event says. What does not apply is absent."""

    participant_id: UUID
    study_id: UUID | None = optional_field("The study it takes part in.")
    ask_id: UUID | None = optional_field("The ask it takes part in.")
    seq: int = Field(description="Counts this participant's events from 1.")
    at: Time
    status: Status | None = optional_field("Of `status`: the new one.")
    outcome: Outcome | None = optional_field("Of `completed`: how it ended.")
    error_kind: str | None = optional_field("Of `failed`: why.")
    reason: str | None = optional_field("Of `pending` after `running`: `lost` or `released`.")
    attempt: int | None = optional_field("Of `pending` after `running`: losses since the last interaction.")
    index: int | None = optional_field("Of `interaction`: which one was committed.")


class Event(EventData):
    """An event with what stands beside its data: where it is in the workspace, and what it is."""

    id: int = Field(description="Its position: name the last one you have seen to go on after it.")
    event: Literal["status", "interaction", "stopped"]
