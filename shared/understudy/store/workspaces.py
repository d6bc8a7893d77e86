"""Workspaces and their bearer tokens. A token is shown once, on creation; only its hash is stored."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from understudy.domain.errors import AuthFailed, NotFound
from understudy.domain.roles import Role
from understudy.store.engine import AnyRow, chunks, store_clock, store_time
from understudy.store.schema import Tables

_workspace = Tables.workspace
_token = Tables.token

DEFAULT_WORKSPACE = "default"
#: Identifies Understudy tokens for secret scanners.
_PREFIX = "us_"


class NewToken(NamedTuple):
    id: UUID
    workspace_id: UUID
    #: True when this token's workspace did not exist before.
    workspace_is_new: bool
    secret: str


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def ensure_workspace(connection: Connection, name: str) -> tuple[UUID, bool]:
    """Returns the workspace of that name, created if it does not exist, and whether it was created.

    Locks it until the transaction ends, so concurrent calls for the same name wait. Repeatable.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    create = dialect.insert(_workspace).values(id=uuid4(), name=name, created_at=store_clock())
    created_id = connection.scalar(create.on_conflict_do_nothing().returning(_workspace.c.id))
    if created_id is not None:
        return created_id, True
    found = select(_workspace.c.id).where(_workspace.c.name == name).with_for_update()
    return connection.execute(found).scalar_one(), False


def list_workspaces(connection: Connection) -> list[tuple[UUID, str]]:
    """Returns all workspaces, `(id, name)`, by name."""
    rows = connection.execute(select(_workspace.c.id, _workspace.c.name).order_by(_workspace.c.name))
    return [(id_, name) for id_, name in rows]


def list_rows(connection: Connection) -> Sequence[AnyRow]:
    """Returns the rows of all workspaces, by name."""
    return connection.execute(select(_workspace).order_by(_workspace.c.name)).all()


def get_workspace(connection: Connection, workspace_id: UUID) -> AnyRow:
    """Returns the row of a workspace that exists."""
    return connection.execute(select(_workspace).where(_workspace.c.id == workspace_id)).one()


def find_by_name(connection: Connection, name: str) -> AnyRow:
    """Returns the row of the workspace of that name. Raises NotFound."""
    row = connection.execute(select(_workspace).where(_workspace.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"There is no workspace {name!r}.", suggestions=("See `understudy workspace list`.",))
    return row


def set_values(connection: Connection, name: str, values: Mapping[str, Any]) -> AnyRow:
    """Changes settings of a workspace and returns its row; None is the installation's default. Repeatable.

    Raises NotFound.
    """
    if values:
        connection.execute(update(_workspace).where(_workspace.c.name == name).values(**values))
    return find_by_name(connection, name)


class Access(NamedTuple):
    """The access of a valid token."""

    workspace_id: UUID
    token_id: UUID
    role: Role
    #: Its row.
    workspace: AnyRow


def create_token(connection: Connection, workspace_name: str, role: Role = Role.ADMIN) -> NewToken:
    """Inserts a token for the workspace of that name, which is created if it does not exist.

    Concurrent calls wait for each other and get tokens for the same workspace. Each call inserts a token.
    """
    workspace_id, is_new = ensure_workspace(connection, workspace_name)
    secret = _PREFIX + secrets.token_urlsafe(32)
    id_ = uuid4()
    connection.execute(
        insert(_token).values(
            id=id_,
            workspace_id=workspace_id,
            hash=_hash(secret),
            hint=secret[: len(_PREFIX) + 4],
            # A token without a role is an admin's; a store that is not migrated yet has no roles.
            **({} if role is Role.ADMIN else {"role": str(role)}),
            created_at=store_clock(),
        )
    )
    return NewToken(id_, workspace_id, is_new, secret)


def authenticate(connection: Connection, secret: str) -> UUID:
    """Returns the workspace of this token. Raises AuthFailed if it is unknown or revoked."""
    return find_access(connection, secret).workspace_id


def find_access(connection: Connection, secret: str) -> Access:
    """Returns the workspace and the role of this token. Raises AuthFailed if it is unknown or revoked."""
    row = connection.execute(_select_access(), {"hash": _hash(secret)}).one_or_none()
    if row is None:
        raise AuthFailed(
            "Unknown or revoked token.",
            suggestions=("Create one with `understudy token create --workspace NAME`.",),
        )
    return Access(row.id, row.token_id, Role(row.role or Role.ADMIN), row)


@cache
def _select_access() -> Select[Any]:
    is_valid = (_token.c.hash == bindparam("hash")) & _token.c.revoked_at.is_(None)
    found = select(_workspace, _token.c.role, _token.c.id.label("token_id"))
    return found.join(_token, _token.c.workspace_id == _workspace.c.id).where(is_valid)


class ValidTokens(NamedTuple):
    """The tokens of a question that are valid, and the store's time of the answer."""

    roles: Mapping[UUID, Role]
    now: datetime


def find_valid_tokens(connection: Connection, token_ids: Sequence[UUID]) -> ValidTokens:
    """Returns those of `token_ids` that exist and are not revoked, with their roles."""
    roles: dict[UUID, Role] = {}
    for some in chunks(token_ids):
        valid = select(_token.c.id, _token.c.role).where(_token.c.id.in_(some), _token.c.revoked_at.is_(None))
        roles |= {id_: Role(role or Role.ADMIN) for id_, role in connection.execute(valid)}
    return ValidTokens(roles, store_time(connection))


def list_tokens(connection: Connection) -> list[AnyRow]:
    """Returns all tokens without secrets: id, workspace, role, hint, created_at, revoked_at."""
    statement = (
        select(_token.c.id, _workspace.c.name, _token.c.role, _token.c.hint, _token.c.created_at, _token.c.revoked_at)
        .join(_workspace, _workspace.c.id == _token.c.workspace_id)
        .order_by(_token.c.created_at)
    )
    return list(connection.execute(statement).all())


def revoke_token(connection: Connection, token_id: UUID) -> None:
    """Revokes a token from now on. Repeatable. Raises NotFound if it does not exist."""
    statement = (update(_token).where(_token.c.id == token_id, _token.c.revoked_at.is_(None))).values(
        revoked_at=store_clock()
    )
    connection.execute(statement)
    if connection.scalar(select(_token.c.id).where(_token.c.id == token_id)) is None:
        raise NotFound(f"There is no token {token_id}.", suggestions=("List them: `understudy token list`.",))
