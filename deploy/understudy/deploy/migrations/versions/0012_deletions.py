"""Adds `workspace.last_position` and `token.role`.

Deleted events do not give their positions to later ones: `last_position` is null until the workspace's first deletion; then
it is the highest position that any deleted event may have had. `role` is null in tokens that existed before, and in
those that the previous version creates: they are admins, so nothing that worked stops working.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("workspace", sa.Column("last_position", sa.BigInteger(), nullable=True))
    op.add_column("token", sa.Column("role", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("token", "role")
    op.drop_column("workspace", "last_position")
