"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lease",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_lease_expires_at"), "lease", ["expires_at"], unique=False)
    op.create_table(
        "workspace",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "ask",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("question", sa.String(), nullable=False),
        sa.Column("round_count", sa.Integer(), nullable=False),
        sa.Column("max_interactions", sa.Integer(), nullable=True),
        sa.Column("mind", sa.String(), nullable=False),
        sa.Column("step_timeout_s", sa.Float(), nullable=False),
        sa.Column("run_timeout_s", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace_id", "alias", name="uq_ask_alias"),
    )
    op.create_index("ix_ask_created", "ask", ["workspace_id", "created_at", "id"], unique=False)
    op.create_table(
        "idempotency",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
        ),
        sa.PrimaryKeyConstraint("workspace_id", "path", "key"),
    )
    op.create_index("ix_idempotency_created", "idempotency", ["created_at"], unique=False)
    op.create_table(
        "person",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("age", sa.Integer(), nullable=False),
        sa.Column("country", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("traits", sa.JSON(), nullable=False),
        sa.Column("bio", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace_id", "alias", name="uq_person_alias"),
    )
    op.create_index("ix_person_created", "person", ["workspace_id", "created_at", "id"], unique=False)
    op.create_table(
        "study",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("modality", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("assignment", sa.JSON(), nullable=False),
        sa.Column("questions", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace_id", "alias", name="uq_study_alias"),
    )
    op.create_index("ix_study_created", "study", ["workspace_id", "created_at", "id"], unique=False)
    op.create_table(
        "token",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("hint", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
    )
    op.create_table(
        "iteration",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("max_interactions", sa.Integer(), nullable=True),
        sa.Column("mind", sa.String(), nullable=False),
        sa.Column("step_timeout_s", sa.Float(), nullable=False),
        sa.Column("run_timeout_s", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["study.id"],
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_id", "number", name="uq_iteration_number"),
        sa.UniqueConstraint("workspace_id", "alias", name="uq_iteration_alias"),
    )
    op.create_table(
        "round",
        sa.Column("ask_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("question", sa.String(), nullable=False),
        sa.Column("variants", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["ask_id"],
            ["ask.id"],
        ),
        sa.PrimaryKeyConstraint("ask_id", "number"),
    )
    op.create_table(
        "participant",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=True),
        sa.Column("iteration_id", sa.Uuid(), nullable=True),
        sa.Column("ask_id", sa.Uuid(), nullable=True),
        sa.Column("round", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("error_kind", sa.String(), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("claimed_ms", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dispatch_no", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("max_interactions", sa.Integer(), nullable=False),
        sa.Column("interaction_count", sa.Integer(), nullable=False),
        sa.Column("extended_from", sa.Uuid(), nullable=True),
        sa.Column("branched_at", sa.Integer(), nullable=False),
        sa.Column("instruction", sa.String(), nullable=True),
        sa.Column("instruction_is_own", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('draft', 'pending', 'running', 'completed', 'failed', 'cancelled')",
            name="ck_participant_status",
        ),
        sa.CheckConstraint("(ask_id IS NULL) = (round IS NULL)", name="ck_participant_round"),
        sa.CheckConstraint("(iteration_id IS NULL) <> (ask_id IS NULL)", name="ck_participant_parent"),
        sa.CheckConstraint("(iteration_id IS NULL) = (study_id IS NULL)", name="ck_participant_study"),
        sa.ForeignKeyConstraint(
            ["ask_id", "round"],
            ["round.ask_id", "round.number"],
        ),
        sa.ForeignKeyConstraint(
            ["extended_from"],
            ["participant.id"],
        ),
        sa.ForeignKeyConstraint(
            ["iteration_id"],
            ["iteration.id"],
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.id"],
        ),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["study.id"],
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspace.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace_id", "alias", name="uq_participant_alias"),
    )
    op.create_index("ix_participant_ask", "participant", ["ask_id", "round", "created_at", "id"], unique=False)
    op.create_index("ix_participant_created", "participant", ["workspace_id", "created_at", "id"], unique=False)
    op.create_index(op.f("ix_participant_extended_from"), "participant", ["extended_from"], unique=False)
    op.create_index("ix_participant_iteration", "participant", ["iteration_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_participant_pending",
        "participant",
        ["dispatched_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
        sqlite_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_participant_running",
        "participant",
        ["worker_id"],
        unique=False,
        postgresql_where=sa.text("status = 'running'"),
        sqlite_where=sa.text("status = 'running'"),
    )
    op.create_index(
        "ix_participant_stopping",
        "participant",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("status = 'cancelled' AND stopped_at IS NULL"),
        sqlite_where=sa.text("status = 'cancelled' AND stopped_at IS NULL"),
    )
    op.create_index("ix_participant_study", "participant", ["study_id", "created_at", "id"], unique=False)
    op.create_table(
        "checkpoint",
        sa.Column("participant_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["participant_id"],
            ["participant.id"],
        ),
        sa.PrimaryKeyConstraint("participant_id"),
    )
    op.create_table(
        "event",
        sa.Column("participant_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("workspace_id", sa.Uuid(), nullable=True),
        sa.Column("study_id", sa.Uuid(), nullable=True),
        sa.Column("ask_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["participant_id"],
            ["participant.id"],
        ),
        sa.PrimaryKeyConstraint("participant_id", "seq"),
    )
    op.create_index(
        "ix_event_waiting",
        "event",
        ["participant_id", "seq"],
        unique=False,
        postgresql_where=sa.text("position IS NULL"),
        sqlite_where=sa.text("position IS NULL"),
    )
    op.create_index(
        "ix_event_position",
        "event",
        ["workspace_id", "position"],
        unique=True,
        postgresql_where=sa.text("position IS NOT NULL"),
        sqlite_where=sa.text("position IS NOT NULL"),
    )
    op.create_index(
        "ix_event_study",
        "event",
        ["study_id", "position"],
        unique=False,
        postgresql_where=sa.text("study_id IS NOT NULL"),
        sqlite_where=sa.text("study_id IS NOT NULL"),
    )
    op.create_index(
        "ix_event_ask",
        "event",
        ["ask_id", "position"],
        unique=False,
        postgresql_where=sa.text("ask_id IS NOT NULL"),
        sqlite_where=sa.text("ask_id IS NOT NULL"),
    )
    op.create_table(
        "interaction",
        sa.Column("participant_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("observation", sa.JSON(), nullable=False),
        sa.Column("thought", sa.String(), nullable=False),
        sa.Column("action", sa.JSON(), nullable=False),
        sa.Column("sentiment", sa.Float(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["participant_id"],
            ["participant.id"],
        ),
        sa.PrimaryKeyConstraint("participant_id", "ordinal"),
    )


def downgrade() -> None:
    op.drop_table("interaction")
    op.drop_index(
        "ix_event_ask",
        table_name="event",
        postgresql_where=sa.text("ask_id IS NOT NULL"),
        sqlite_where=sa.text("ask_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_event_study",
        table_name="event",
        postgresql_where=sa.text("study_id IS NOT NULL"),
        sqlite_where=sa.text("study_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_event_position",
        table_name="event",
        postgresql_where=sa.text("position IS NOT NULL"),
        sqlite_where=sa.text("position IS NOT NULL"),
    )
    op.drop_index(
        "ix_event_waiting",
        table_name="event",
        postgresql_where=sa.text("position IS NULL"),
        sqlite_where=sa.text("position IS NULL"),
    )
    op.drop_table("event")
    op.drop_table("checkpoint")
    op.drop_index("ix_participant_study", table_name="participant")
    op.drop_index(
        "ix_participant_stopping",
        table_name="participant",
        postgresql_where=sa.text("status = 'cancelled' AND stopped_at IS NULL"),
        sqlite_where=sa.text("status = 'cancelled' AND stopped_at IS NULL"),
    )
    op.drop_index(
        "ix_participant_running",
        table_name="participant",
        postgresql_where=sa.text("status = 'running'"),
        sqlite_where=sa.text("status = 'running'"),
    )
    op.drop_index(
        "ix_participant_pending",
        table_name="participant",
        postgresql_where=sa.text("status = 'pending'"),
        sqlite_where=sa.text("status = 'pending'"),
    )
    op.drop_index("ix_participant_iteration", table_name="participant")
    op.drop_index(op.f("ix_participant_extended_from"), table_name="participant")
    op.drop_index("ix_participant_created", table_name="participant")
    op.drop_index("ix_participant_ask", table_name="participant")
    op.drop_table("participant")
    op.drop_table("round")
    op.drop_table("iteration")
    op.drop_table("token")
    op.drop_index("ix_study_created", table_name="study")
    op.drop_table("study")
    op.drop_index("ix_person_created", table_name="person")
    op.drop_table("person")
    op.drop_index("ix_idempotency_created", table_name="idempotency")
    op.drop_table("idempotency")
    op.drop_index("ix_ask_created", table_name="ask")
    op.drop_table("ask")
    op.drop_table("workspace")
    op.drop_index(op.f("ix_lease_expires_at"), table_name="lease")
    op.drop_table("lease")
