"""The tables. Migrations create them (`understudy.deploy.migrations`); a test compares the two."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Table,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from understudy.domain.lifecycle import Status
from understudy.store.utc import UtcTime


def _timestamp() -> Any:
    return Field(sa_type=UtcTime)


def _optional_timestamp() -> Any:
    return Field(default=None, sa_type=UtcTime)


def _json() -> Any:
    return Field(sa_type=JSON)


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of those rows only."""
    return Index(name, *columns, unique=unique, postgresql_where=text(where), sqlite_where=text(where))


class Workspace(SQLModel, table=True):
    """Everything else belongs to one of these and is invisible from any other."""

    id: UUID = Field(primary_key=True)
    name: str = Field(unique=True)
    created_at: datetime = _timestamp()


class Token(SQLModel, table=True):
    """A bearer token; only its SHA-256 is kept. Tokens are long and random, so a plain hash is enough."""

    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    hash: str = Field(unique=True)
    hint: str
    created_at: datetime = _timestamp()
    revoked_at: datetime | None = _optional_timestamp()


class Person(SQLModel, table=True):
    """A reusable profile."""

    __table_args__ = (
        UniqueConstraint("workspace_id", "alias", name="uq_person_alias"),
        Index("ix_person_created", "workspace_id", "created_at", "id"),
    )
    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    alias: str
    name: str
    age: int
    country: str
    language: str
    traits: dict[str, Any] = _json()
    bio: str
    created_at: datetime = _timestamp()


class Study(SQLModel, table=True):
    """What is asked of people; `status` is an authoring field that no run touches."""

    __table_args__ = (
        UniqueConstraint("workspace_id", "alias", name="uq_study_alias"),
        Index("ix_study_created", "workspace_id", "created_at", "id"),
    )
    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    alias: str
    name: str
    modality: str
    status: str
    assignment: dict[str, Any] = _json()
    questions: list[str] = _json()
    created_at: datetime = _timestamp()


class Iteration(SQLModel, table=True):
    """One version of what people act on; A, B, C… in order of `number`."""

    __table_args__ = (
        UniqueConstraint("workspace_id", "alias", name="uq_iteration_alias"),
        UniqueConstraint("study_id", "number", name="uq_iteration_number"),
    )
    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    study_id: UUID = Field(foreign_key="study.id")
    alias: str
    number: int
    content: dict[str, Any] = _json()
    max_interactions: int | None = None
    mind: str
    step_timeout_s: float
    run_timeout_s: float
    created_at: datetime = _timestamp()


class Ask(SQLModel, table=True):
    """A question to a panel of people, in rounds. Who is in it: the people of its first round."""

    __table_args__ = (
        UniqueConstraint("workspace_id", "alias", name="uq_ask_alias"),
        Index("ix_ask_created", "workspace_id", "created_at", "id"),
    )
    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    alias: str
    #: What its first round asked.
    question: str
    #: Raised by the guarded update that opens a round, and by nothing else.
    round_count: int = 0
    max_interactions: int | None = None
    mind: str
    step_timeout_s: float
    run_timeout_s: float
    created_at: datetime = _timestamp()


class Round(SQLModel, table=True):
    """One round of an ask, counted from 1."""

    ask_id: UUID = Field(primary_key=True, foreign_key="ask.id")
    number: int = Field(primary_key=True)
    question: str
    variants: list[str] = _json()
    created_at: datetime = _timestamp()


class Lease(SQLModel, table=True):
    """A worker process, alive until `expires_at` by the store's clock. A fresh row per process start."""

    id: UUID = Field(primary_key=True)
    name: str
    expires_at: datetime = _timestamp()


_STATUSES = ", ".join(f"'{status}'" for status in Status)


class Participant(SQLModel, table=True):
    """One simulated person inside one run."""

    __table_args__ = (
        UniqueConstraint("workspace_id", "alias", name="uq_participant_alias"),
        ForeignKeyConstraint(["ask_id", "round"], ["round.ask_id", "round.number"]),
        CheckConstraint(f"status IN ({_STATUSES})", name="ck_participant_status"),
        CheckConstraint("(iteration_id IS NULL) <> (ask_id IS NULL)", name="ck_participant_parent"),
        CheckConstraint("(iteration_id IS NULL) = (study_id IS NULL)", name="ck_participant_study"),
        CheckConstraint("(ask_id IS NULL) = (round IS NULL)", name="ck_participant_round"),
        Index("ix_participant_created", "workspace_id", "created_at", "id"),
        Index("ix_participant_study", "study_id", "created_at", "id"),
        Index("ix_participant_iteration", "iteration_id", "created_at", "id"),
        Index("ix_participant_ask", "ask_id", "round", "created_at", "id"),
        # What the sweeper looks for is always a small part of the table.
        _partial("ix_participant_pending", "dispatched_at", where="status = 'pending'"),
        _partial("ix_participant_waiting", "pending_since", where="status = 'pending'"),
        _partial("ix_participant_running", "worker_id", where="status = 'running'"),
        _partial(
            "ix_participant_stopping", "finished_at", where="status = 'cancelled' AND stopped_at IS NULL"
        ),
    )
    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    alias: str
    person_id: UUID = Field(foreign_key="person.id")
    study_id: UUID | None = Field(default=None, foreign_key="study.id")
    iteration_id: UUID | None = Field(default=None, foreign_key="iteration.id")
    ask_id: UUID | None = None
    round: int | None = None

    status: str
    outcome: str | None = None
    error_kind: str | None = None
    error_message: str | None = None
    #: Raised by each claim and by nothing else; every write of a run names the one it was given.
    epoch: int = 0
    #: Counts this participant's events; raised in the guarded write that makes one.
    seq: int = 0
    #: Losses of a worker since the last committed interaction.
    attempt: int = 0
    #: The lease of the process that claimed it last; null while pending.
    worker_id: UUID | None = None
    #: Milliseconds that runs of this row have held it, up to the last write.
    claimed_ms: int = 0

    #: When it last became pending.
    pending_since: datetime | None = _optional_timestamp()
    #: Which queue its next run message belongs to, when one was last sent, and how many were.
    queue: str
    dispatched_at: datetime | None = _optional_timestamp()
    dispatch_no: int = 0

    seed: int
    max_interactions: int
    #: Over the whole lineage, inherited ones included.
    interaction_count: int = 0
    extended_from: UUID | None = Field(default=None, foreign_key="participant.id", index=True)
    branched_at: int = 0
    #: What directs it; `instruction_is_own` when its own extend brought it, else it is inherited.
    instruction: str | None = None
    instruction_is_own: bool = False

    created_at: datetime = _timestamp()
    started_at: datetime | None = _optional_timestamp()
    finished_at: datetime | None = _optional_timestamp()
    stopped_at: datetime | None = _optional_timestamp()


class Interaction(SQLModel, table=True):
    """One committed step. Never changed; removed only by `understudy prune`, with its participant."""

    participant_id: UUID = Field(primary_key=True, foreign_key="participant.id")
    #: Its `index`: counts from 0 over the lineage. (A row's `index` would be a method of tuples.)
    ordinal: int = Field(primary_key=True)
    #: The claim under which it was written.
    epoch: int
    observation: dict[str, Any] = _json()
    thought: str
    action: dict[str, Any] = _json()
    sentiment: float
    result: dict[str, Any] = _json()
    started_at: datetime = _timestamp()
    duration_ms: int


class Usage(SQLModel, table=True):
    """What a step took that asked a language model: with its interaction, or with the failure it came to."""

    __table_args__ = (
        Index("ix_usage_workspace", "workspace_id", "at"),
        _partial("ix_usage_study", "study_id", where="study_id IS NOT NULL"),
        _partial("ix_usage_ask", "ask_id", where="ask_id IS NOT NULL"),
    )
    participant_id: UUID = Field(primary_key=True, foreign_key="participant.id")
    #: The interaction's; of a step that failed, the one that it would have had.
    ordinal: int = Field(primary_key=True)
    at: datetime = _timestamp()
    #: The participant's, to be summed by.
    workspace_id: UUID
    study_id: UUID | None = None
    ask_id: UUID | None = None
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    seconds: float
    cost: float | None = None


class Checkpoint(SQLModel, table=True):
    """The state to go on from, as of a participant's last own interaction; replaced by each commit."""

    participant_id: UUID = Field(primary_key=True, foreign_key="participant.id")
    state: dict[str, Any] = _json()


class Event(SQLModel, table=True):
    """What happened to a participant, in order of `seq`."""

    __table_args__ = (
        # Those without a position are always a small part of the table.
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
    #: Counts the workspace's events from 1. Given after the commit, and the participant's ids with it.
    position: int | None = Field(default=None, sa_type=BigInteger)
    workspace_id: UUID | None = None
    study_id: UUID | None = None
    ask_id: UUID | None = None


class Outbox(SQLModel, table=True):
    """Events of many who were made or cancelled at once, on their way to `event` (see `store.events`)."""

    participant_id: UUID = Field(primary_key=True, foreign_key="participant.id")
    seq: int = Field(primary_key=True)
    kind: str
    data: dict[str, Any] = _json()
    at: datetime = _timestamp()


class Idempotency(SQLModel, table=True):
    """What a dispatch with an Idempotency-Key answered, kept for a day."""

    __table_args__ = (Index("ix_idempotency_created", "created_at"),)
    workspace_id: UUID = Field(primary_key=True, foreign_key="workspace.id")
    path: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    #: Of the parsed request: repeating a key with another one is a mistake.
    request_hash: str
    answer: dict[str, Any] = _json()
    created_at: datetime = _timestamp()


class Tables:
    """The tables under short names; `Tables.participant.c.status` is a column."""

    workspace: ClassVar[Table]
    token: ClassVar[Table]
    person: ClassVar[Table]
    study: ClassVar[Table]
    iteration: ClassVar[Table]
    ask: ClassVar[Table]
    round: ClassVar[Table]
    lease: ClassVar[Table]
    participant: ClassVar[Table]
    interaction: ClassVar[Table]
    usage: ClassVar[Table]
    checkpoint: ClassVar[Table]
    event: ClassVar[Table]
    outbox: ClassVar[Table]
    idempotency: ClassVar[Table]


for _name, _table in SQLModel.metadata.tables.items():
    setattr(Tables, _name, _table)
