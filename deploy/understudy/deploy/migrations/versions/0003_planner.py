"""Statistics for SQLite's planner: a workspace has most rows of a table, other column values have few.

Without statistics SQLite assumes that each value of an indexed column has few rows. It then reads a whole
workspace to find a thousand of its ids. PostgreSQL collects such statistics by itself.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

#: Table, index, and its statistics: number of rows, rows per value of the first column, of the first two columns, …
EXPECTED = (
    ("ask", "sqlite_autoindex_ask_1", "1000 1"),
    ("ask", "sqlite_autoindex_ask_2", "1000 1000 1"),
    ("ask", "ix_ask_created", "1000 1000 1 1"),
    ("event", "sqlite_autoindex_event_1", "1000000 10 1"),
    ("event", "ix_event_position", "1000000 1000000 1"),
    ("event", "ix_event_study", "1000000 10000 1"),
    ("event", "ix_event_ask", "1000000 10000 1"),
    ("event", "ix_event_waiting", "1000 10 1"),
    ("iteration", "sqlite_autoindex_iteration_1", "1000 1"),
    ("iteration", "sqlite_autoindex_iteration_2", "1000 1 1"),
    ("iteration", "sqlite_autoindex_iteration_3", "1000 1000 1"),
    ("participant", "sqlite_autoindex_participant_1", "100000 1"),
    ("participant", "sqlite_autoindex_participant_2", "100000 100000 1"),
    ("participant", "ix_participant_created", "100000 100000 1 1"),
    ("participant", "ix_participant_study", "100000 1000 1 1"),
    ("participant", "ix_participant_iteration", "100000 1000 1 1"),
    ("participant", "ix_participant_ask", "100000 1000 100 1 1"),
    ("participant", "ix_participant_extended_from", "100000 1"),
    ("participant", "ix_participant_pending", "1000 10"),
    ("participant", "ix_participant_waiting", "1000 1"),
    ("participant", "ix_participant_running", "1000 100"),
    ("participant", "ix_participant_stopping", "1000 10"),
    ("person", "sqlite_autoindex_person_1", "10000 1"),
    ("person", "sqlite_autoindex_person_2", "10000 10000 1"),
    ("person", "ix_person_created", "10000 10000 1 1"),
    ("study", "sqlite_autoindex_study_1", "1000 1"),
    ("study", "sqlite_autoindex_study_2", "1000 1000 1"),
    ("study", "ix_study_created", "1000 1000 1 1"),
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    # Creates the table of the statistics.
    connection.exec_driver_sql("ANALYZE")
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", list(EXPECTED))
    # Reloads the statistics for later statements on this connection.
    connection.exec_driver_sql("ANALYZE sqlite_schema")


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DELETE FROM sqlite_stat1")
