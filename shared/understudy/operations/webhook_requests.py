"""Request models of the operations on webhooks, and of tickets."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from understudy.domain.webhooks import MAX_URL_LENGTH
from understudy.operations.queries import ListQuery
from understudy.operations.request_base import Request
from understudy.operations.requests import MAX_ID_LENGTH, Id

EventTypeName = Literal["participant.completed", "participant.failed", "participant.cancelled", "run.finished"]


def _check_unique(events: list[EventTypeName]) -> list[EventTypeName]:
    if len(set(events)) < len(events):
        raise ValueError("names a type twice")
    return events


def parse_time(text: str) -> datetime:
    """Returns an RFC 3339 time. Raises ValueError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None or "T" not in text.upper():
        raise ValueError("must be an RFC 3339 time with a time zone, such as 2026-12-01T09:00:00Z")
    return time


def _check_time(text: str) -> str:
    parse_time(text)
    return text


class WebhookRequest(Request):
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)] = Field(
        description="Address of the receiver, http or https."
    )
    events: Annotated[list[EventTypeName], Field(min_length=1), AfterValidator(_check_unique)] | None = Field(
        default=None, description="Types of the events to receive. Default: all."
    )


class ReplayRequest(Request):
    """Exactly one of `delivery_id` and `since`; `status` only with `since`."""

    delivery_id: Annotated[str, Field(max_length=MAX_ID_LENGTH)] | None = Field(
        default=None, description="One delivery: `id` in the log, or the header `webhook-id`."
    )
    since: Annotated[str, Field(max_length=40), AfterValidator(_check_time)] | None = Field(
        default=None, description="All events at or after this time, such as 2026-12-01T09:00:00Z."
    )
    status: Literal["pending", "delivered", "dead"] | None = Field(
        default=None, description="Only deliveries of this status. Default: all."
    )

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if (self.delivery_id is None) == (self.since is None):
            raise ValueError("give exactly one of delivery_id and since")
        if self.status is not None and self.since is None:
            raise ValueError("status: applies only with since")
        return self


class DeliveriesQuery(ListQuery):
    status: Literal["pending", "delivered", "dead"] | None = Field(default=None, description="Filter by status.")


class TicketRequest(Request):
    """Exactly one scope."""

    study_id: Id | None = Field(default=None, description="A study: UUID or alias.")
    participant_id: Id | None = Field(default=None, description="A participant: UUID or alias.")
    ask_id: Id | None = Field(default=None, description="An ask: UUID or alias.")

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if sum(one is not None for one in (self.study_id, self.participant_id, self.ask_id)) != 1:
            raise ValueError("give exactly one of study_id, participant_id and ask_id")
        return self
