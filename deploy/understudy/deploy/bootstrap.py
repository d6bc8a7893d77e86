"""What a fresh installation needs to be used at once: a workspace, a token and a panel of people."""

from uuid import UUID

from sqlalchemy import Connection

from understudy.deploy.owner_only_files import write_private
from understudy.domain.errors import AuthFailed
from understudy.domain.people import default_panel
from understudy.settings import Settings
from understudy.store.engine import Store
from understudy.store.people import count_people, insert_people
from understudy.store.workspaces import DEFAULT_WORKSPACE, authenticate, create_token, ensure_workspace


def ensure_default_workspace(settings: Settings) -> None:
    """See to it that `token` in the data folder opens the default workspace, and that people are in it.

    A token that does is kept. One that opens another workspace is put aside as `token.other`, as nobody may
    have it a second time; one that opens nothing is replaced. The file is readable by its owner only.
    Several may do this at once, on one store: there is one workspace then, with one panel, and every token
    is good. The schema must be there.
    """
    token_file = settings.data_dir / "token"
    secret = token_file.read_text(errors="replace").strip() if token_file.exists() else ""
    store = Store(settings.store_url)
    try:
        made, opens = store.write(lambda connection: _ensure(connection, secret))
    finally:
        store.dispose()
    if made is None:
        return
    if opens is not None:
        write_private(token_file.with_name("token.other"), secret + "\n")
    write_private(token_file, made + "\n")


def _ensure(connection: Connection, secret: str) -> tuple[str | None, UUID | None]:
    """The secret of a new token, None when `secret` will do; and the workspace that `secret` opens."""
    workspace_id, _ = ensure_workspace(connection, DEFAULT_WORKSPACE)
    if count_people(connection, workspace_id) == 0:
        insert_people(connection, workspace_id, default_panel())
    try:
        opens = authenticate(connection, secret)
    except AuthFailed:
        opens = None
    if opens == workspace_id:
        return None, opens
    return create_token(connection, DEFAULT_WORKSPACE).secret, opens
