"""Adds retention: `workspace.retention_days`, `ask.panel_removed_at`, the table `past_usage`, and an index of people.

The previous version ignores all of it: it keeps everything, and its sums leave out what was deleted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

#: Statistics for SQLite's planner, as in 0003.
EXPECTED = (
    ("participant", "ix_participant_person", "100000 10"),
    ("past_usage", "sqlite_autoindex_past_usage_1", "10000 30 1 1"),
    ("past_usage", "ix_past_usage_day", "10000 1000 50"),
)


def upgrade() -> None:
    op.add_column("workspace", sa.Column("retention_days", sa.Integer(), nullable=True))
    op.add_column("ask", sa.Column("panel_removed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_participant_person", "participant", ["person_id"])
    op.create_table(
        "past_usage",
        sa.Column("parent_id", sa.Uuid(), primary_key=True),
        sa.Column("day", sa.String(), primary_key=True),
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspace.id"), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=True),
    )
    op.create_index("ix_past_usage_day", "past_usage", ["workspace_id", "day"])
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", list(EXPECTED))
        connection.exec_driver_sql("ANALYZE sqlite_schema")


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE tbl = 'past_usage' OR idx = 'ix_participant_person'")
    op.drop_table("past_usage")
    op.drop_index("ix_participant_person", "participant")
    op.drop_column("ask", "panel_removed_at")
    op.drop_column("workspace", "retention_days")
