"""Adds `workspace.last_position`: deleted events do not give their positions to later ones.

It is null until the workspace's first deletion; then it is the highest position that any deleted event may have had.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("workspace", sa.Column("last_position", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("workspace", "last_position")
