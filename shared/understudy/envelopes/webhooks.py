"""Envelopes of webhooks, their deliveries, and the messages that receivers get. Source: contract section 6."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, Strict, WithJsonSchema

from understudy.domain import webhooks
from understudy.envelopes.base import Envelope, Time, optional_field
from understudy.envelopes.participants import Participant

#: Inlined in each schema, like statuses.
EventType = Annotated[
    webhooks.EventType,
    Strict(False),
    WithJsonSchema({"type": "string", "enum": [str(type_) for type_ in webhooks.EventType]}),
]
DeliveryStatus = Annotated[
    webhooks.DeliveryStatus,
    Strict(False),
    WithJsonSchema({"type": "string", "enum": [str(status) for status in webhooks.DeliveryStatus]}),
]


class Webhook(Envelope):
    id: UUID
    alias: str = Field(description="Short id.")
    url: str = Field(description="Address of the receiver.")
    events: list[EventType] = Field(description="Types of the events that it receives.")
    created_at: Time = Field(description="Creation time.")
    pending_count: int = Field(description="Deliveries that wait for their next attempt.")
    oldest_pending_at: Time | None = Field(description="Time of the oldest event that waits; null if none waits.")


class WebhookCreated(Webhook):
    """The answer to webhook_create and webhook_rotate, the only ones with the secret."""

    secret: str | None = optional_field(
        "Key of the signatures, `whsec_…`. Store it now: no later answer contains it. Absent if a repeated call "
        "with an idempotency key comes after a rotation."
    )


class WebhookDeleted(Envelope):
    id: UUID
    alias: str = Field(description="Short id.")
    deleted: Literal[True] = True


class WebhookDelivery(Envelope):
    """An entry of the log of deliveries: one event for one webhook."""

    id: UUID = Field(description="Its header `webhook-id`, the same in every attempt.")
    type: EventType
    participant_id: UUID | None = optional_field("Participant of the event.")
    dispatch_id: UUID | None = optional_field("Dispatch of a `run.finished`.")
    occurred_at: Time = Field(description="Time of the event.")
    status: DeliveryStatus = Field(
        description="pending: waits for its next attempt; delivered; dead: failed for three days, or its participant "
        "was deleted."
    )
    attempts: int = Field(description="Attempts since the event, or since the last replay.")
    next_attempt_at: Time | None = Field(description="Time of the next attempt; null unless pending.")
    attempted_at: Time | None = Field(description="Time of the last attempt.")
    ended_at: Time | None = Field(description="Time at which it was delivered or dead.")
    response_status: int | None = Field(description="HTTP status of the last answer; null without an answer.")
    error: str | None = Field(description="Reason of the last failed attempt; null after a success.")


class Replayed(Envelope):
    replayed_count: int = Field(description="Deliveries that are due again.")


class DispatchFinished(Envelope):
    """The data of a `run.finished`."""

    dispatch_id: UUID
    participant_ids: list[UUID] = Field(
        description="Its participants, in the order of `dispatch.participant_ids`; at most the first 1,000."
    )
    study_id: UUID | None
    iteration_id: UUID | None
    ask_id: UUID | None
    round: int | None
    extended_from: UUID | None = Field(description="Source, if an extend started the participant.")
    participant_count: int
    completed_count: int
    failed_count: int
    cancelled_count: int
    outcomes: dict[str, int] = Field(description="Completed participants by outcome.")
    finished_at: Time = Field(description="Time when the last participant became terminal.")


class WebhookMessage(Envelope):
    """The body of a delivery."""

    type: EventType
    timestamp: Time = Field(description="Time of the event.")
    data: Participant | DispatchFinished | dict[str, Any]
