"""The tables of webhooks. `understudy.store.schema` offers them as `Tables.webhook` and so on."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from understudy.store.columns import json_value, optional_timestamp, partial_index, timestamp


class Webhook(SQLModel, table=True):
    """A receiver of a workspace's events."""

    __table_args__ = (UniqueConstraint("workspace_id", "alias", name="uq_webhook_alias"),)
    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    alias: str
    url: str
    #: Types of the events that it receives.
    events: list[str] = json_value()
    #: Key of the signatures. Each delivery needs it, so no hash would do.
    secret: str
    #: The secret before the last rotation; deliveries carry its signature too until the time below.
    previous_secret: str | None = None
    previous_until: datetime | None = optional_timestamp()
    #: Receives the events after this position.
    since_position: int = Field(sa_type=BigInteger)
    created_at: datetime = timestamp()


class WebhookCursor(SQLModel, table=True):
    """The position up to which a workspace's events have become deliveries; only a guarded update raises it."""

    __tablename__ = "webhook_cursor"
    workspace_id: UUID = Field(primary_key=True, foreign_key="workspace.id")
    position: int = Field(sa_type=BigInteger)


class Delivery(SQLModel, table=True):
    """One event for one webhook. Its body is built from the participants when it is sent."""

    __table_args__ = (
        # An event becomes at most one delivery of a webhook, whatever happens.
        UniqueConstraint("webhook_id", "source_id", "type", name="uq_delivery_event"),
        Index("ix_delivery_log", "webhook_id", "created_at", "id"),
        partial_index("ix_delivery_due", "webhook_id", "due_at", where="status = 'pending'"),
        partial_index("ix_delivery_oldest", "retry_from", where="status = 'pending'"),
        partial_index("ix_delivery_ended", "ended_at", where="ended_at IS NOT NULL"),
    )
    id: UUID = Field(primary_key=True)
    webhook_id: UUID = Field(foreign_key="webhook.id")
    workspace_id: UUID = Field(foreign_key="workspace.id")
    type: str
    #: The participant, or the dispatch of a `run.finished`. Deliveries of one source are sent in order.
    source_id: UUID
    #: Position of the event, and its time.
    position: int = Field(sa_type=BigInteger)
    occurred_at: datetime = timestamp()
    created_at: datetime = timestamp()

    status: str
    #: Attempts since it was created or replayed, and the time of that: its retries end a period later.
    attempts: int = 0
    retry_from: datetime = timestamp()
    due_at: datetime = timestamp()
    #: Raised by each claim; the result of an attempt is written only under the number of its claim.
    claim_no: int = 0
    #: No other process attempts it before this time.
    claimed_until: datetime | None = optional_timestamp()
    attempted_at: datetime | None = optional_timestamp()
    ended_at: datetime | None = optional_timestamp()
    #: HTTP status of the last attempt, if there was an answer, and what went wrong.
    response_status: int | None = None
    error: str | None = None
