"""Adds `lease.kind` and `lease.slots`: what a worker process does, and how much at a time.

Both are null in leases of the previous version; a lease without a kind counts as a run worker.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("lease", sa.Column("kind", sa.String(), nullable=True))
    op.add_column("lease", sa.Column("slots", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("lease", "slots")
    op.drop_column("lease", "kind")
