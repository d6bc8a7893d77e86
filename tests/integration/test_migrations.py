"""The migrations make exactly the tables that the code expects, on both stores, also at once."""

import shutil
import warnings
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlmodel import SQLModel

from tests.integration.test_store_lifecycle import at_once
from understudy.deploy.migrate import MIGRATIONS, migrate, upgrade
from understudy.settings import Settings
from understudy.store.engine import Store


def test_migrations_and_code_agree(store: Store) -> None:
    with store.engine.connect() as connection, warnings.catch_warnings():
        # Partial indexes are compared by name only; alembic says so.
        warnings.simplefilter("ignore")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_migrate_on_a_migrated_store_changes_nothing(store: Store, settings: Settings) -> None:
    def schema() -> object:
        found = inspect(store.engine)
        return {
            table: [(c["name"], str(c["type"])) for c in found.get_columns(table)] for table in found.get_table_names()
        }

    before = schema()
    migrate(settings)
    assert schema() == before
    test_migrations_and_code_agree(store)


def test_several_may_migrate_an_empty_store_at_once(bare_settings: Settings) -> None:
    at_once(3, lambda: migrate(bare_settings))
    store = Store(bare_settings.store_url)
    test_migrations_and_code_agree(store)
    store.dispose()


def test_a_migration_that_fails_leaves_everything_as_it_was(store: Store, tmp_path: Path) -> None:
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations)
    before = inspect(store.engine).get_table_names()
    (newest,) = ScriptDirectory(str(migrations)).get_heads()
    (migrations / "versions/broken.py").write_text(BROKEN.format(newest=newest))
    with pytest.raises(LookupError, match="half way"):
        store.write(partial(upgrade, migrations=migrations))
    assert inspect(store.engine).get_table_names() == before
    test_migrations_and_code_agree(store)


BROKEN = """
from alembic import op
import sqlalchemy as sa

revision = "broken"
down_revision = "{newest}"

def upgrade():
    op.create_table("half", sa.Column("id", sa.Integer(), primary_key=True))
    raise LookupError("half way")
"""
