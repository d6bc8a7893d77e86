"""Sets autovacuum of PostgreSQL for busy tables; drops an index so that a lease's renewal stays in its page.

Safe while processes run: no statement needs these settings or this index.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

#: The default vacuums a table when a fifth of it is dead: for a year of events, months at once.
SETTINGS = {
    # Each row changes once, when it gets its position, and leaves a dead row.
    "event": {
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_insert_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.05",
    },
    "participant": {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_analyze_scale_factor": "0.02"},
    # Each step replaces the row; a state that is too long for a row is stored in the TOAST table.
    "checkpoint": {"autovacuum_vacuum_scale_factor": "0.05", "toast.autovacuum_vacuum_scale_factor": "0.05"},
    # Rows never change. Early vacuuming avoids one long freeze later.
    "interaction": {
        "autovacuum_vacuum_insert_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.05",
    },
    "usage": {"autovacuum_vacuum_insert_scale_factor": "0.05", "autovacuum_analyze_scale_factor": "0.05"},
}


def upgrade() -> None:
    # One row per process, renewed every few seconds: queries read the whole table.
    op.drop_index("ix_lease_expires_at", table_name="lease")
    if op.get_bind().dialect.name == "postgresql":
        for table, settings in SETTINGS.items():
            given = ", ".join(f"{name} = {value}" for name, value in settings.items())
            op.execute(f"ALTER TABLE {table} SET ({given})")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, settings in SETTINGS.items():
            op.execute(f"ALTER TABLE {table} RESET ({', '.join(settings)})")
    op.create_index(op.f("ix_lease_expires_at"), "lease", ["expires_at"])
