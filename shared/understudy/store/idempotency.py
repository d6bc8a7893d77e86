"""Idempotency keys: a repeated start returns the first answer. Source: contract section 6.

`path` names what was started: the operation and its target. The previous version stored the path of the request.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from understudy.domain.errors import Conflict
from understudy.store.engine import AnyRow, store_clock
from understudy.store.schema import Tables

_key = Tables.idempotency

RETENTION_S = 24 * 3600


def find_or_reserve(
    connection: Connection, workspace_id: UUID, path: str, key: str, request_hash: str
) -> dict[str, Any] | None:
    """Returns the answer of this key; None if this call reserved it: then call `save_answer` next.

    The reservation belongs to the caller's transaction. A concurrent call waits for its end, then returns the
    saved answer; after a rollback it reserves the key. Raises Conflict if another request used the key.
    """
    key_filter = (_key.c.workspace_id == workspace_id) & (_key.c.path == path) & (_key.c.key == key)
    connection.execute(delete(_key).where(key_filter, _key.c.created_at < store_clock(-RETENTION_S)))
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    reserve = (
        dialect.insert(_key)
        .values(
            workspace_id=workspace_id,
            path=path,
            key=key,
            request_hash=request_hash,
            answer={},
            created_at=store_clock(),
        )
        .on_conflict_do_nothing()
        .returning(_key.c.key)
    )
    if connection.scalar(reserve) is not None:
        return None
    used = connection.execute(select(_key.c.request_hash, _key.c.answer).where(key_filter)).one()
    if used.request_hash != request_hash:
        raise Conflict(
            "This Idempotency-Key was used for another request.",
            suggestions=("Use a new key for a new request, or repeat the first request unchanged.",),
        )
    answer: dict[str, Any] = used.answer
    return answer


def find_by_key(connection: Connection, workspace_id: UUID, key: str) -> Sequence[AnyRow]:
    """Returns `(path, request_hash, answer)` of everything that was started with this key and is kept."""
    kept = (_key.c.key == key) & (_key.c.created_at >= store_clock(-RETENTION_S))
    columns = select(_key.c.path, _key.c.request_hash, _key.c.answer)
    return connection.execute(columns.where(_key.c.workspace_id == workspace_id, kept)).all()


def save_answer(connection: Connection, workspace_id: UUID, path: str, key: str, answer: Mapping[str, Any]) -> None:
    """Stores `answer` for repeats of the request, in the transaction that reserved the key. Repeatable."""
    key_filter = (_key.c.workspace_id == workspace_id) & (_key.c.path == path) & (_key.c.key == key)
    connection.execute(_key.update().where(key_filter).values(answer=dict(answer)))


def delete_expired(connection: Connection) -> int:
    """Deletes keys that are older than RETENTION_S; returns how many. Repeatable."""
    # As a subquery: PostgreSQL uses no index for a comparison with a function that changes within a statement.
    before = select(store_clock(-RETENTION_S)).scalar_subquery()
    return connection.execute(delete(_key).where(_key.c.created_at < before)).rowcount
