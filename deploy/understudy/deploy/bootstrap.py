"""Prepares a store for `up`: a workspace, a token, a panel of people, and no leases of earlier workers."""

from uuid import UUID

from sqlalchemy import Connection

from understudy.deploy.owner_only_files import write_private
from understudy.domain.errors import AuthFailed
from understudy.domain.people import default_panel
from understudy.settings import Settings
from understudy.store import leases
from understudy.store.engine import Store
from understudy.store.people import count_people, insert_people
from understudy.store.workspaces import DEFAULT_WORKSPACE, authenticate, create_token, ensure_workspace


def ensure_default_workspace(settings: Settings) -> None:
    """Ensures that the default workspace has people and that `token` in the data folder opens it.

    A valid token is kept. A token of another workspace moves to `token.other`, because it may be the only
    copy. A token that opens no workspace is replaced. Only the owner can read the file.
    Several processes may call this at once on one store: the result is one workspace with one panel, and
    every token is valid. The schema must exist.
    """
    token_file = settings.data_dir / "token"
    secret = token_file.read_text(errors="replace").strip() if token_file.exists() else ""
    store = Store(settings.store_url)
    try:
        new_secret, opened_id = store.write(lambda connection: _ensure(connection, secret))
    finally:
        store.dispose()
    if new_secret is None:
        return
    if opened_id is not None:
        write_private(token_file.with_name("token.other"), secret + "\n")
    write_private(token_file, new_secret + "\n")


def expire_embedded_leases(settings: Settings) -> int:
    """Expires the leases in the store of the data folder, so that a sweeper recovers their runs at once.

    Call it while no worker of the folder runs. Returns the number of leases; 0 with `database_url`, because
    workers on other machines may hold the leases of that store.
    """
    if settings.database_url:
        return 0
    store = Store(settings.store_url)
    try:
        return store.write(leases.expire_all)
    finally:
        store.dispose()


def _ensure(connection: Connection, secret: str) -> tuple[str | None, UUID | None]:
    """Returns the secret of a new token, None if `secret` is valid; and the workspace `secret` opens."""
    workspace_id, _ = ensure_workspace(connection, DEFAULT_WORKSPACE)
    if count_people(connection, workspace_id) == 0:
        insert_people(connection, workspace_id, default_panel())
    try:
        opened_id = authenticate(connection, secret)
    except AuthFailed:
        opened_id = None
    if opened_id == workspace_id:
        return None, opened_id
    return create_token(connection, DEFAULT_WORKSPACE).secret, opened_id
