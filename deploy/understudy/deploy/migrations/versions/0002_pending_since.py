"""Adds `participant.pending_since`: the moment from which a participant is pending."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("participant", sa.Column("pending_since", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE participant SET pending_since = created_at WHERE status = 'pending'")
    op.create_index(
        "ix_participant_waiting",
        "participant",
        ["pending_since"],
        postgresql_where=sa.text("status = 'pending'"),
        sqlite_where=sa.text("status = 'pending'"),
    )


def downgrade() -> None:
    op.drop_index("ix_participant_waiting", table_name="participant")
    op.drop_column("participant", "pending_since")
