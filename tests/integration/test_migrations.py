"""The migrations make exactly the tables that the code expects, on both stores, also at once."""

import warnings

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from deploy.migrate import migrate
from shared.settings import Settings
from shared.store.engine import Store
from tests.integration.test_store_lifecycle import at_once


def test_migrations_and_code_agree(store: Store) -> None:
    with store.engine.connect() as connection, warnings.catch_warnings():
        # Partial indexes are compared by name only; alembic says so.
        warnings.simplefilter("ignore")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_migrating_again_changes_nothing(store: Store, settings: Settings) -> None:
    migrate(settings)


def test_several_may_migrate_an_empty_store_at_once(settings: Settings, tmp_path: object) -> None:
    empty = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/new.db"})
    at_once(3, lambda: migrate(empty))
    test_migrations_and_code_agree(Store(empty.database_url))
