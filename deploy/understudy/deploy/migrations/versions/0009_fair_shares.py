"""Adds what fair shares need: weights, limits and pauses, and the indexes of the window of run messages.

The previous version creates participants without `parent_id`; the sweeper sets it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from understudy.domain.sites import limited_site

revision = "0009"
down_revision = "0008"

_UNSENT = "status = 'pending' AND dispatched_at IS NULL"
_SENT = "status = 'pending' AND dispatched_at IS NOT NULL"
_INDEXES: dict[str, tuple[list[str], str]] = {
    "ix_participant_unsent": (["workspace_id", "queue", "parent_id", "created_at", "id"], _UNSENT),
    "ix_participant_sent": (["dispatched_at"], _SENT),
    "ix_participant_unplaced": (["id"], "status = 'pending' AND parent_id IS NULL"),
}
#: Statistics for SQLite's planner, as migration 0003 has them: rows of the index, and rows per value of its columns.
_STATISTICS = {
    "ix_participant_unsent": "100000 10000 5000 1000 1 1",
    "ix_participant_sent": "1000 1",
    "ix_participant_unplaced": "10 1",
}
_COLUMNS: dict[str, list[sa.Column[Any]]] = {
    "workspace": [
        sa.Column("weight", sa.Float(), nullable=True),
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
    ],
    "study": [
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
    ],
    "iteration": [sa.Column("site", sa.String(), nullable=True)],
    "participant": [
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("yields", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("preempted_at", sa.DateTime(timezone=True), nullable=True),
    ],
}


def upgrade() -> None:
    for table, columns in _COLUMNS.items():
        for column in columns:
            op.add_column(table, column)
    op.execute(
        "UPDATE participant SET parent_id = coalesce(iteration_id, ask_id) WHERE status IN ('pending', 'running')"
    )
    _set_sites()
    for name, (names, where) in _INDEXES.items():
        condition = sa.text(where)
        op.create_index(name, "participant", names, postgresql_where=condition, sqlite_where=condition)
    op.drop_index("ix_participant_pending", "participant")
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        rows = [("participant", *item) for item in _STATISTICS.items()]
        connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", rows)
        connection.exec_driver_sql("ANALYZE sqlite_schema")


def _set_sites() -> None:
    iteration = sa.table("iteration", sa.column("id", sa.Uuid()), sa.column("content", sa.JSON()), sa.column("site"))
    connection = op.get_bind()
    for id_, content in connection.execute(sa.select(iteration.c.id, iteration.c.content)).all():
        if site := limited_site(content):
            connection.execute(sa.update(iteration).where(iteration.c.id == id_).values(site=site))


def downgrade() -> None:
    condition = sa.text("status = 'pending'")
    op.create_index(
        "ix_participant_pending",
        "participant",
        ["dispatched_at"],
        postgresql_where=condition,
        sqlite_where=condition,
    )
    for name in _INDEXES:
        op.drop_index(name, "participant")
    for table, columns in _COLUMNS.items():
        for column in columns:
            op.drop_column(table, column.name)
