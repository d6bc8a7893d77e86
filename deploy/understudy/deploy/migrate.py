"""Bringing a store to the schema of this version."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from understudy.settings import Settings
from understudy.store.engine import Store

MIGRATIONS = Path(__file__).parent / "migrations"

#: Any number that nothing else in the database locks.
_ADVISORY_LOCK = 8_246_017_331


def migrate(settings: Settings) -> None:
    """Apply all migrations that are missing, in one transaction; harmless when there are none.

    Two who migrate at once take turns: SQLite by its write lock, PostgreSQL by an advisory lock.
    Raises ServiceUnavailable when the store does not answer.
    """
    store = Store(settings.store_url)
    try:
        store.write(upgrade)
    finally:
        store.dispose()


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Apply what `migrations` has and the store has not, within the transaction at hand."""
    if connection.dialect.name == "postgresql":
        # Another one's migration, and our own, may take their time.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        if int((connection.dialect.server_version_info or (0,))[0]) >= 17:
            connection.execute(text("SET LOCAL transaction_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
    config = Config()
    # Alembic interpolates: a percent sign in the path must not be taken for a name.
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
