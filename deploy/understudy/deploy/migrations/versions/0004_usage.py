"""Adds the table `usage`: consumption of language models per interaction."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

#: Statistics for SQLite's planner, as in 0003.
EXPECTED = (
    ("usage", "sqlite_autoindex_usage_1", "100000 10 1"),
    ("usage", "ix_usage_workspace", "100000 100000 1"),
    ("usage", "ix_usage_study", "100000 1000"),
    ("usage", "ix_usage_ask", "100000 1000"),
)


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("participant_id", sa.Uuid(), sa.ForeignKey("participant.id"), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=True),
        sa.Column("ask_id", sa.Uuid(), nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("participant_id", "ordinal"),
    )
    op.create_index("ix_usage_workspace", "usage", ["workspace_id", "at"])
    for name in ("study", "ask"):
        given = sa.text(f"{name}_id IS NOT NULL")
        op.create_index(f"ix_usage_{name}", "usage", [f"{name}_id"], postgresql_where=given, sqlite_where=given)
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", list(EXPECTED))
        connection.exec_driver_sql("ANALYZE sqlite_schema")


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE tbl = 'usage'")
    op.drop_table("usage")
