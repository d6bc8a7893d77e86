"""Alembic environment: runs on the connection that `understudy.deploy.migrate` passes."""

from alembic import context
from sqlmodel import SQLModel

import understudy.store.schema  # noqa: F401 - its tables are the target

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
)
context.run_migrations()
