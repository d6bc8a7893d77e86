"""The tables about calls of workspaces: their limits and quotas, and the answers kept for repeated starts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Index
from sqlmodel import Field, SQLModel

from understudy.store.utc import UtcTime


class Idempotency(SQLModel, table=True):
    """The answer to a start with an idempotency key, kept for a day."""

    __table_args__ = (Index("ix_idempotency_created", "created_at"), Index("ix_idempotency_key", "workspace_id", "key"))
    workspace_id: UUID = Field(primary_key=True, foreign_key="workspace.id")
    #: Operation and target of the start. The previous version stored the path of the request.
    path: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    #: Hash of the parsed request: one key with two different requests is an error.
    request_hash: str
    answer: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=UtcTime)


class QuotaUse(SQLModel, table=True):
    """The use of quotas by a workspace. A dispatch locks its row until the end of the transaction."""

    __tablename__ = "quota_use"
    workspace_id: UUID = Field(primary_key=True, foreign_key="workspace.id")
    #: Day (UTC) of `participants`, such as 2026-11-30.
    day: str = ""
    participants: int = 0
    #: Measured from the events up to this position.
    stored_bytes: int = Field(default=0, sa_type=BigInteger)
    measured_position: int = Field(default=0, sa_type=BigInteger)


class CallUse(SQLModel, table=True):
    """The calls of a workspace, over all API processes. Its row also orders the changes of `call_place`."""

    __tablename__ = "call_use"
    workspace_id: UUID = Field(primary_key=True, foreign_key="workspace.id")
    #: Seconds since 1970 until which the granted requests last at the workspace's rate.
    requests_until: float = 0


class CallPlace(SQLModel, table=True):
    """The waits or event streams of a workspace that one API process may hold open, until `expires_at`."""

    __tablename__ = "call_place"
    workspace_id: UUID = Field(primary_key=True, foreign_key="workspace.id")
    #: event_streams or waits
    kind: str = Field(primary_key=True)
    process_id: UUID = Field(primary_key=True)
    places: int
    expires_at: datetime = Field(sa_type=UtcTime)
