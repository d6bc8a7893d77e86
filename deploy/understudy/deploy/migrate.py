"""Migrates a store to the schema of this version."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text

from understudy.domain.errors import ValidationError
from understudy.settings import Settings
from understudy.store.engine import Store

MIGRATIONS = Path(__file__).parent / "migrations"

#: An arbitrary number that no other lock of the database uses.
_ADVISORY_LOCK = 8_246_017_331


def migrate(settings: Settings) -> None:
    """Applies all pending migrations in one transaction; does nothing if there are none.

    Concurrent calls run one after another: SQLite by its write lock, PostgreSQL by an advisory lock.
    Raises ServiceUnavailable if the store does not answer.
    """
    store = Store(settings.store_url)
    try:
        store.write(upgrade)
    finally:
        store.dispose()


def has_schema(connection: Connection) -> bool:
    """Returns whether the store has the tables of some version."""
    return inspect(connection).has_table("token")


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Applies the migrations that the store lacks, within the transaction of `connection`."""
    if connection.dialect.name == "postgresql":
        # The lock may have to wait for another migration, and a migration can take long.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        if int((connection.dialect.server_version_info or (0,))[0]) >= 17:
            connection.execute(text("SET LOCAL transaction_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        _check_encoding(connection)
    config = Config()
    # Alembic interpolates the value: a percent sign in the path must be escaped.
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _check_encoding(connection: Connection) -> None:
    """Raises ValidationError unless the database stores every text. SQL_ASCII checks nothing and knows no letters."""
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise ValidationError(
            f"The database has the encoding {encoding}; it must be UTF8, because people have names in every language.",
            suggestions=("Create it anew: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'.",),
        )
