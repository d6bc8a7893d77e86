"""The migrations create exactly the tables that the code expects, on both stores, also when they run at once."""

import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url
from sqlmodel import SQLModel

from tests.factories import at_once
from understudy.deploy.migrate import MIGRATIONS, migrate, upgrade
from understudy.domain.errors import ValidationError
from understudy.settings import Settings
from understudy.store.engine import Store

BROKEN = """
from alembic import op
import sqlalchemy as sa

revision = "broken"
down_revision = "{newest}"

def upgrade():
    op.create_table("half", sa.Column("id", sa.Integer(), primary_key=True))
    raise LookupError("half way")
"""


def differences(store: Store) -> Any:
    """Returns how the tables of the store differ from those of the code."""
    with store.engine.connect() as connection, warnings.catch_warnings():
        # alembic warns that it compares partial indexes by name only.
        warnings.simplefilter("ignore")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, SQLModel.metadata)


def test_migrate_on_a_migrated_store_changes_nothing(store: Store, settings: Settings) -> None:
    assert differences(store) == []
    migrate(settings)
    assert differences(store) == []


def test_concurrent_migrations_of_an_empty_store_all_succeed(bare_settings: Settings) -> None:
    at_once(*[lambda: migrate(bare_settings)] * 3)
    store = Store(bare_settings.store_url)
    assert differences(store) == []
    store.dispose()


def test_failed_migration_changes_nothing(store: Store, tmp_path: Path) -> None:
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations)
    (newest,) = ScriptDirectory(str(migrations)).get_heads()
    (migrations / "versions/broken.py").write_text(BROKEN.format(newest=newest))
    with pytest.raises(LookupError, match="half way"):
        store.write(partial(upgrade, migrations=migrations))
    assert differences(store) == []


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_migrate_of_a_database_that_lacks_letters_is_refused_with_a_sentence(
    bare_settings: Settings, encoding: str
) -> None:
    if not bare_settings.database_url.startswith("postgresql"):
        pytest.skip("SQLite stores every text")
    url = make_url(bare_settings.database_url)
    name = f"{url.database}_{encoding.lower()}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        options = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING '{encoding}' {options}")
        poor = bare_settings.model_copy(
            update={"database_url": url.set(database=name).render_as_string(hide_password=False)}
        )
        with pytest.raises(ValidationError, match=f"has the encoding {encoding}; it must be UTF8"):
            migrate(poor)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()
