"""Adds limits and quotas of workspaces, and the tables that count their use."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_SMALL = ("requests_per_minute", "event_streams", "waits", "participants_per_day")
_LARGE = ("model_tokens_per_day", "stored_bytes")


def upgrade() -> None:
    for name in _SMALL:
        op.add_column("workspace", sa.Column(name, sa.Integer(), nullable=True))
    for name in _LARGE:
        op.add_column("workspace", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_table(
        "quota_use",
        sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspace.id"), primary_key=True),
        sa.Column("day", sa.String(), nullable=False),
        sa.Column("participants", sa.Integer(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("measured_position", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "call_use",
        sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspace.id"), primary_key=True),
        sa.Column("requests_until", sa.Float(), nullable=False),
    )
    op.create_table(
        "call_place",
        sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspace.id"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("process_id", sa.Uuid(), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "kind", "process_id"),
    )


def downgrade() -> None:
    for table in ("call_place", "call_use", "quota_use"):
        op.drop_table(table)
    for name in (*_LARGE, *_SMALL):
        op.drop_column("workspace", name)
