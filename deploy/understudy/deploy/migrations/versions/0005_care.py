"""What PostgreSQL is to do for tables that change all the time; a lease's renewal that stays within its page.

Harmless beside processes that run: no setting and no index here is one that a statement needs.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

#: By default a table is vacuumed when a fifth of it is dead: of the events of a year, months of them at once.
SETTINGS = {
    # Each row changes once, when it is given its position, and leaves a dead one.
    "event": {
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_insert_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.05",
    },
    "participant": {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_analyze_scale_factor": "0.02"},
    # Each step replaces it; a state that is longer than a line lies in the table beside it.
    "checkpoint": {"autovacuum_vacuum_scale_factor": "0.05", "toast.autovacuum_vacuum_scale_factor": "0.05"},
    # Never change. What is vacuumed in time is not frozen all at once later, which takes long.
    "interaction": {
        "autovacuum_vacuum_insert_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.05",
    },
    "usage": {"autovacuum_vacuum_insert_scale_factor": "0.05", "autovacuum_analyze_scale_factor": "0.05"},
}


def upgrade() -> None:
    # As many rows as there are processes, each renewed every few seconds: it is read as a whole.
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
