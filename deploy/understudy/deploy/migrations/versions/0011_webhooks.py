"""Adds webhooks and their deliveries, and `participant.dispatch_id`: the participants of one dispatch share it.

The previous version leaves `dispatch_id` null; a dispatch without one sends no `run.finished`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_TIME = sa.DateTime(timezone=True)

#: Statistics for SQLite's planner, as in 0003: a webhook has most deliveries of the table.
EXPECTED = (
    ("webhook", "sqlite_autoindex_webhook_1", "100 1"),
    ("webhook", "sqlite_autoindex_webhook_2", "100 20 1"),
    ("delivery", "sqlite_autoindex_delivery_1", "100000 1"),
    ("delivery", "sqlite_autoindex_delivery_2", "100000 10000 1 1"),
    ("delivery", "ix_delivery_log", "100000 10000 1 1"),
    ("delivery", "ix_delivery_due", "10000 1000 1"),
    ("delivery", "ix_delivery_oldest", "10000 1"),
    ("delivery", "ix_delivery_ended", "100000 1"),
    ("participant", "ix_participant_dispatch", "100000 100"),
)


def upgrade() -> None:
    op.add_column("participant", sa.Column("dispatch_id", sa.Uuid(), nullable=True))
    given = sa.text("dispatch_id IS NOT NULL")
    op.create_index(
        "ix_participant_dispatch", "participant", ["dispatch_id"], postgresql_where=given, sqlite_where=given
    )
    op.create_table(
        "webhook",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspace.id"), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("previous_secret", sa.String(), nullable=True),
        sa.Column("previous_until", _TIME, nullable=True),
        sa.Column("since_position", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.UniqueConstraint("workspace_id", "alias", name="uq_webhook_alias"),
    )
    op.create_table(
        "webhook_cursor",
        sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspace.id"), primary_key=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
    )
    _create_deliveries()
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", list(EXPECTED))
        connection.exec_driver_sql("ANALYZE sqlite_schema")


def _create_deliveries() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("webhook_id", sa.Uuid(), sa.ForeignKey("webhook.id"), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspace.id"), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("occurred_at", _TIME, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_from", _TIME, nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("claim_no", sa.Integer(), nullable=False),
        sa.Column("claimed_until", _TIME, nullable=True),
        sa.Column("attempted_at", _TIME, nullable=True),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.UniqueConstraint("webhook_id", "source_id", "type", name="uq_delivery_event"),
    )
    op.create_index("ix_delivery_log", "delivery", ["webhook_id", "created_at", "id"])
    for name, columns, where in (
        ("ix_delivery_due", ["webhook_id", "due_at"], "status = 'pending'"),
        ("ix_delivery_oldest", ["retry_from"], "status = 'pending'"),
        ("ix_delivery_ended", ["ended_at"], "ended_at IS NOT NULL"),
    ):
        condition = sa.text(where)
        op.create_index(name, "delivery", columns, postgresql_where=condition, sqlite_where=condition)


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE tbl IN ('webhook', 'delivery')")
        connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE idx = 'ix_participant_dispatch'")
    for table in ("delivery", "webhook_cursor", "webhook"):
        op.drop_table(table)
    op.drop_index("ix_participant_dispatch", "participant")
    op.drop_column("participant", "dispatch_id")
