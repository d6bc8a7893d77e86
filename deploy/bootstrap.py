"""What a fresh installation needs to be used at once: a workspace, a token and a panel of people."""

from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection

from deploy.private import write_private
from shared.domain.errors import AuthFailed
from shared.domain.people import default_panel
from shared.settings import Settings
from shared.store.engine import Store
from shared.store.people import count_people, insert_people
from shared.store.workspaces import DEFAULT_WORKSPACE, authenticate, create_token


def ensure_default_workspace(settings: Settings) -> None:
    """See to it that `token` in the data folder opens the default workspace, and that people are in it.

    A token that still works is kept; the file is readable by its owner only. The schema must be there.
    """
    token_file = settings.data_dir / "token"
    store = Store(settings.store_url)
    try:
        secret = store.write(lambda connection: _ensure(connection, token_file))
    finally:
        store.dispose()
    if secret is not None:
        write_private(token_file, secret + "\n")


def _ensure(connection: Connection, token_file: Path) -> str | None:
    """The secret of a new token; None when the one in the file works."""
    secret, workspace_id = None, _opened_by(connection, token_file)
    if workspace_id is None:
        made = create_token(connection, DEFAULT_WORKSPACE)
        secret, workspace_id = made.secret, made.workspace_id
    if count_people(connection, workspace_id) == 0:
        insert_people(connection, workspace_id, default_panel())
    return secret


def _opened_by(connection: Connection, token_file: Path) -> UUID | None:
    if not token_file.exists():
        return None
    try:
        return authenticate(connection, token_file.read_text().strip())
    except AuthFailed:
        return None
