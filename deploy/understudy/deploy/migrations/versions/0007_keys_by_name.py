"""Adds an index of idempotency keys by key: the keys of the previous version are stored under many paths."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("ix_idempotency_key", "idempotency", ["workspace_id", "key"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_idempotency_key", table_name="idempotency")
