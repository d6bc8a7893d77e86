"""The tables of recorded changes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from understudy.store.columns import json_value as _json
from understudy.store.columns import partial_index as _partial
from understudy.store.columns import timestamp as _timestamp


class Event(SQLModel, table=True):
    """A recorded change of a participant, in order of `seq`."""

    __table_args__ = (
        # Events without a position are always a small part of the table.
        _partial("ix_event_waiting", "participant_id", "seq", where="position IS NULL"),
        _partial("ix_event_position", "workspace_id", "position", where="position IS NOT NULL", unique=True),
        _partial("ix_event_study", "study_id", "position", where="study_id IS NOT NULL"),
        _partial("ix_event_ask", "ask_id", "position", where="ask_id IS NOT NULL"),
    )
    participant_id: UUID = Field(primary_key=True, foreign_key="participant.id")
    seq: int = Field(primary_key=True)
    #: status, interaction or stopped
    kind: str
    data: dict[str, Any] = _json()
    at: datetime = _timestamp()
    #: Counts the workspace's events from 1. Assigned after the commit, with the participant's ids.
    position: int | None = Field(default=None, sa_type=BigInteger)
    workspace_id: UUID | None = None
    study_id: UUID | None = None
    ask_id: UUID | None = None


class Outbox(SQLModel, table=True):
    """Events of many participants created or cancelled at once, before `event` (see `store.events`)."""

    participant_id: UUID = Field(primary_key=True, foreign_key="participant.id")
    seq: int = Field(primary_key=True)
    kind: str
    data: dict[str, Any] = _json()
    at: datetime = _timestamp()
