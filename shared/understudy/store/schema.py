"""The tables. Migrations create them (`understudy.deploy.migrations`); a test compares both."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, Table, UniqueConstraint, false
from sqlmodel import Field, SQLModel

from understudy.domain.lifecycle import Status
from understudy.store import call_tables, event_tables, webhook_schema  # noqa: F401 - they declare their tables
from understudy.store.columns import json_value as _json
from understudy.store.columns import optional_timestamp as _optional_timestamp
from understudy.store.columns import partial_index as _partial
from understudy.store.columns import timestamp as _timestamp


class Workspace(SQLModel, table=True):
    """The tenant boundary: every other row belongs to one workspace and is invisible from the others."""

    id: UUID = Field(primary_key=True)
    name: str = Field(unique=True)
    created_at: datetime = _timestamp()
    #: An operator paused it: nothing of it runs.
    paused_at: datetime | None = _optional_timestamp()
    #: Its share of the slots, compared with those of others; null for the installation's default.
    weight: float | None = None
    #: Limits and quotas (see `domain.workspace_settings`): null for the installation's default, 0 for none.
    requests_per_minute: int | None = None
    event_streams: int | None = None
    waits: int | None = None
    max_running: int | None = None
    participants_per_day: int | None = None
    model_tokens_per_day: int | None = Field(default=None, sa_type=BigInteger)
    stored_bytes: int | None = Field(default=None, sa_type=BigInteger)
    retention_days: int | None = None
    #: Of a deleted event; null if none was deleted.
    last_position: int | None = Field(default=None, sa_type=BigInteger)


class Token(SQLModel, table=True):
    """A bearer token, stored as SHA-256. Tokens are long and random, so a plain hash is enough."""

    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    hash: str = Field(unique=True)
    hint: str
    #: A Role; null in tokens that the previous version creates, which may do everything.
    role: str | None = None
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
    """A task with its success condition and modality; `status` is an authoring field that no run changes."""

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
    #: Maximum participants that run at once; null: no limit.
    max_running: int | None = None
    #: Nothing of it runs until it is resumed.
    paused_at: datetime | None = _optional_timestamp()


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
    #: Public origin that it visits, whose visitors have a limit; null if it has none.
    site: str | None = None


class Ask(SQLModel, table=True):
    """A question to a panel of people, in rounds. The panel is the people of its first round."""

    __table_args__ = (
        UniqueConstraint("workspace_id", "alias", name="uq_ask_alias"),
        Index("ix_ask_created", "workspace_id", "created_at", "id"),
    )
    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    alias: str
    #: The question of its first round.
    question: str
    #: Only the guarded update that opens a round raises it.
    round_count: int = 0
    max_interactions: int | None = None
    mind: str
    step_timeout_s: float
    run_timeout_s: float
    created_at: datetime = _timestamp()
    #: Its panel is being deleted, or is gone: it opens no further round.
    panel_removed_at: datetime | None = _optional_timestamp()


class Round(SQLModel, table=True):
    """One round of an ask, counted from 1."""

    ask_id: UUID = Field(primary_key=True, foreign_key="ask.id")
    number: int = Field(primary_key=True)
    question: str
    variants: list[str] = _json()
    created_at: datetime = _timestamp()


class Lease(SQLModel, table=True):
    """A worker process, live until `expires_at` by the store's clock. Each process start inserts a row."""

    id: UUID = Field(primary_key=True)
    name: str
    #: A WorkerKind and its concurrency; null in leases of the previous version, which count as run workers.
    kind: str | None = None
    slots: int | None = None
    expires_at: datetime = _timestamp()


_STATUSES = ", ".join(f"'{status}'" for status in Status)


#: Conditions of partial indexes; `understudy.store.window` has the same in its queries.
_UNSENT = "status = 'pending' AND dispatched_at IS NULL"
_SENT = "status = 'pending' AND dispatched_at IS NOT NULL"


class Participant(SQLModel, table=True):
    """One person in one run; the queue's unit of work."""

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
        Index("ix_participant_person", "person_id"),
        # Participants that may be published, and those in the window.
        _partial("ix_participant_unsent", "workspace_id", "queue", "parent_id", "created_at", "id", where=_UNSENT),
        _partial("ix_participant_sent", "dispatched_at", where=_SENT),
        _partial("ix_participant_unplaced", "id", where="status = 'pending' AND parent_id IS NULL"),
        _partial("ix_participant_dispatch", "dispatch_id", where="dispatch_id IS NOT NULL"),
        # The sweeper's queries always match a small part of the table.
        _partial("ix_participant_waiting", "pending_since", where="status = 'pending'"),
        _partial("ix_participant_running", "worker_id", where="status = 'running'"),
        _partial("ix_participant_stopping", "finished_at", where="status = 'cancelled' AND stopped_at IS NULL"),
    )
    id: UUID = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    alias: str
    person_id: UUID = Field(foreign_key="person.id")
    study_id: UUID | None = Field(default=None, foreign_key="study.id")
    iteration_id: UUID | None = Field(default=None, foreign_key="iteration.id")
    ask_id: UUID | None = None
    round: int | None = None
    #: Its iteration or its ask; null in rows that the previous version created, until the sweeper sets it.
    parent_id: UUID | None = None
    #: Shared by the participants of one dispatch; null in rows of the previous version.
    dispatch_id: UUID | None = None

    status: str
    outcome: str | None = None
    error_kind: str | None = None
    error_message: str | None = None
    #: Only a claim raises it; every write of a run states the epoch of its claim.
    epoch: int = 0
    #: Number of this participant's events; each guarded write that records one raises it.
    seq: int = 0
    #: Lost workers since the last committed interaction.
    attempt: int = 0
    #: Lease of the process that claimed it last; null while pending.
    worker_id: UUID | None = None
    #: The run gives up its slot at its next interaction; and when it was last asked to.
    yields: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    preempted_at: datetime | None = _optional_timestamp()
    #: Milliseconds for which runs have held this row, up to the last write.
    claimed_ms: int = 0

    #: Time at which it last became pending.
    pending_since: datetime | None = _optional_timestamp()
    #: Queue of its next run message, time of the last publication, and number of publications.
    queue: str
    dispatched_at: datetime | None = _optional_timestamp()
    dispatch_no: int = 0

    seed: int
    max_interactions: int
    #: Over the whole lineage, including inherited ones.
    interaction_count: int = 0
    extended_from: UUID | None = Field(default=None, foreign_key="participant.id", index=True)
    branched_at: int = 0
    #: Directs the run; `instruction_is_own` if its own extend set it, else it is inherited.
    instruction: str | None = None
    instruction_is_own: bool = False

    created_at: datetime = _timestamp()
    started_at: datetime | None = _optional_timestamp()
    finished_at: datetime | None = _optional_timestamp()
    stopped_at: datetime | None = _optional_timestamp()


class Interaction(SQLModel, table=True):
    """One committed step. Never changed; it is deleted only with its participant."""

    participant_id: UUID = Field(primary_key=True, foreign_key="participant.id")
    #: Its `index`, from 0 over the lineage. (A row's `index` would be a method of tuples.)
    ordinal: int = Field(primary_key=True)
    #: Epoch of the claim that wrote it.
    epoch: int
    observation: dict[str, Any] = _json()
    thought: str
    action: dict[str, Any] = _json()
    sentiment: float
    result: dict[str, Any] = _json()
    started_at: datetime = _timestamp()
    duration_ms: int


class Usage(SQLModel, table=True):
    """Usage of language models by a step: with its interaction, or with the failure that ended it."""

    __table_args__ = (
        Index("ix_usage_workspace", "workspace_id", "at"),
        _partial("ix_usage_study", "study_id", where="study_id IS NOT NULL"),
        _partial("ix_usage_ask", "ask_id", where="ask_id IS NOT NULL"),
    )
    participant_id: UUID = Field(primary_key=True, foreign_key="participant.id")
    #: Index of the interaction; for a failed step, the index that it would have had.
    ordinal: int = Field(primary_key=True)
    at: datetime = _timestamp()
    #: Copied from the participant, for sums.
    workspace_id: UUID
    study_id: UUID | None = None
    ask_id: UUID | None = None
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    seconds: float
    cost: float | None = None


class PastUsage(SQLModel, table=True):
    """Usage by deleted participants, summed by day, so that no deletion resets a quota or a study's costs."""

    __tablename__ = "past_usage"
    __table_args__ = (Index("ix_past_usage_day", "workspace_id", "day"),)
    #: Their study or ask, which may be deleted too.
    parent_id: UUID = Field(primary_key=True)
    #: The day (UTC) of the use, such as 2026-11-30.
    day: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    workspace_id: UUID = Field(foreign_key="workspace.id")
    calls: int = Field(sa_type=BigInteger)
    input_tokens: int = Field(sa_type=BigInteger)
    output_tokens: int = Field(sa_type=BigInteger)
    seconds: float
    #: Null if any of it has no price.
    cost: float | None = None


class Checkpoint(SQLModel, table=True):
    """The state to resume from, after a participant's last own interaction; a commit replaces it."""

    participant_id: UUID = Field(primary_key=True, foreign_key="participant.id")
    state: dict[str, Any] = _json()


class Tables:
    """The tables under short names; `Tables.participant.c.status` is a column."""

    workspace: ClassVar[Table]
    quota_use: ClassVar[Table]
    call_use: ClassVar[Table]
    call_place: ClassVar[Table]
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
    past_usage: ClassVar[Table]
    checkpoint: ClassVar[Table]
    event: ClassVar[Table]
    outbox: ClassVar[Table]
    idempotency: ClassVar[Table]
    webhook: ClassVar[Table]
    webhook_cursor: ClassVar[Table]
    delivery: ClassVar[Table]


for _name, _table in SQLModel.metadata.tables.items():
    setattr(Tables, _name, _table)
