"""Adds the table `outbox`: bulk events wait there until they move to the table `event`.

The previous version does not read it; docs/operations.md has the order of an upgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

#: Statistics for SQLite's planner, as in 0003.
EXPECTED = ("outbox", "sqlite_autoindex_outbox_1", "10000 1 1")


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("participant_id", sa.Uuid(), sa.ForeignKey("participant.id"), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("participant_id", "seq"),
    )
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", EXPECTED)
        connection.exec_driver_sql("ANALYZE sqlite_schema")


def downgrade() -> None:
    op.execute(
        "INSERT INTO event (participant_id, seq, kind, data, at) SELECT participant_id, seq, kind, data, at FROM outbox"
    )
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE tbl = 'outbox'")
    op.drop_table("outbox")
