"""Event envelopes. Source: contract section 6."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Outcome, Status, Time, optional_field


class EventData(Envelope):
    """The data of an event. Fields that do not apply are absent."""

    participant_id: UUID
    study_id: UUID | None = optional_field("Study of the participant.")
    ask_id: UUID | None = optional_field("Ask of the participant.")
    seq: int = Field(description="Order among the participant's events, from 1.")
    at: Time
    status: Status | None = optional_field("New status of a `status` event.")
    outcome: Outcome | None = optional_field("Outcome if the status is `completed`.")
    error_kind: str | None = optional_field("Failure reason if the status is `failed`.")
    reason: str | None = optional_field("Cause of `pending` after `running`: `lost` or `released`.")
    attempt: int | None = optional_field("For `pending` after `running`: losses since the last interaction.")
    index: int | None = optional_field("Index of the committed interaction.")


class EventTicket(Envelope):
    """A credential for the events of one study, participant or ask."""

    ticket: str = Field(description="Value of `ticket` in the address of the event stream.")
    expires_at: Time = Field(description="Time at which it ends, 10 minutes after its creation.")


class Event(EventData):
    """An event with its position in the workspace and its type."""

    id: int = Field(description="Position of the event; pass the last one to continue after it.")
    event: Literal["status", "interaction", "stopped"]
