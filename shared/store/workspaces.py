"""Workspaces and their bearer tokens. A token is shown once, when it is made; only its hash is kept."""

import hashlib
import secrets
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, insert, select, update

from shared.domain.errors import AuthFailed, NotFound
from shared.store.engine import AnyRow, store_clock
from shared.store.schema import Tables

_workspace = Tables.workspace
_token = Tables.token

DEFAULT_WORKSPACE = "default"
#: Marks our tokens for secret scanners.
_PREFIX = "us_"


class NewToken(NamedTuple):
    id: UUID
    workspace_id: UUID
    #: True when this token's workspace did not exist before.
    workspace_is_new: bool
    secret: str


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def create_token(connection: Connection, workspace_name: str) -> NewToken:
    """A new token for the workspace of that name, which is made if there is none."""
    workspace_id = connection.scalar(select(_workspace.c.id).where(_workspace.c.name == workspace_name))
    is_new = workspace_id is None
    if workspace_id is None:
        workspace_id = uuid4()
        connection.execute(
            insert(_workspace).values(id=workspace_id, name=workspace_name, created_at=store_clock())
        )
    secret = _PREFIX + secrets.token_urlsafe(32)
    id_ = uuid4()
    connection.execute(
        insert(_token).values(
            id=id_,
            workspace_id=workspace_id,
            hash=_hash(secret),
            hint=secret[: len(_PREFIX) + 4],
            created_at=store_clock(),
        )
    )
    return NewToken(id_, workspace_id, is_new, secret)


def authenticate(connection: Connection, secret: str) -> UUID:
    """The workspace this token opens. Raises AuthFailed when it is unknown or revoked."""
    found = select(_token.c.workspace_id).where(_token.c.hash == _hash(secret), _token.c.revoked_at.is_(None))
    workspace_id: UUID | None = connection.scalar(found)
    if workspace_id is None:
        raise AuthFailed(
            "This token is not known here, or was revoked.",
            suggestions=("Make one with `understudy token create --workspace NAME`.",),
        )
    return workspace_id


def list_tokens(connection: Connection) -> list[AnyRow]:
    """All tokens, without their secrets: id, workspace, hint, created_at, revoked_at."""
    statement = (
        select(_token.c.id, _workspace.c.name, _token.c.hint, _token.c.created_at, _token.c.revoked_at)
        .join(_workspace, _workspace.c.id == _token.c.workspace_id)
        .order_by(_token.c.created_at)
    )
    return list(connection.execute(statement).all())


def revoke_token(connection: Connection, token_id: UUID) -> None:
    """Shut a token out from now on. Repeating it is fine. Raises NotFound."""
    statement = (update(_token).where(_token.c.id == token_id, _token.c.revoked_at.is_(None))).values(
        revoked_at=store_clock()
    )
    connection.execute(statement)
    if connection.scalar(select(_token.c.id).where(_token.c.id == token_id)) is None:
        raise NotFound(f"There is no token {token_id}.", suggestions=("See `understudy token list`.",))
