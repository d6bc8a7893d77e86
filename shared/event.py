"""An event as callers see it. Source: contract section 6."""

from typing import Literal
from uuid import UUID

from pydantic import Field

from shared.envelopes import Envelope, Outcome, Status, Time


def _absent(value: object) -> bool:
    return value is None


class EventData(Envelope):
    """What an event says. What does not apply is absent."""

    participant_id: UUID
    study_id: UUID | None = Field(default=None, exclude_if=_absent)
    ask_id: UUID | None = Field(default=None, exclude_if=_absent)
    seq: int = Field(description="Counts this participant's events from 1.")
    at: Time
    status: Status | None = Field(default=None, exclude_if=_absent, description="Of `status`: the new one.")
    outcome: Outcome | None = Field(default=None, exclude_if=_absent)
    error_kind: str | None = Field(default=None, exclude_if=_absent)
    reason: str | None = Field(
        default=None, exclude_if=_absent, description="Of `pending` after `running`: `lost` or `released`."
    )
    attempt: int | None = Field(default=None, exclude_if=_absent)
    index: int | None = Field(
        default=None, exclude_if=_absent, description="Of `interaction`: which one was committed."
    )


class Event(EventData):
    """An event with what stands beside its data: where it is in the workspace, and what it is."""

    id: int = Field(description="Its position: name the last one you have seen to go on after it.")
    event: Literal["status", "interaction", "stopped"]
