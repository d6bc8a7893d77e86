"""Idempotency keys: a repeated dispatch gets what the first one made. Source: contract section 6."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from understudy.domain.errors import Conflict
from understudy.store.engine import store_clock
from understudy.store.schema import Tables

_key = Tables.idempotency

RETENTION_S = 24 * 3600


def find_or_reserve(
    connection: Connection, workspace_id: UUID, path: str, key: str, request_hash: str
) -> dict[str, Any] | None:
    """What was answered under this key, or None: then the key is the caller's, who answers by `save_answer`.

    The key is taken in the caller's transaction. Of two at once the second waits for the first to end, and
    then finds its answer; or nothing, if it was rolled back. Raises Conflict when the key was used for
    another request.
    """
    here = (_key.c.workspace_id == workspace_id) & (_key.c.path == path) & (_key.c.key == key)
    connection.execute(delete(_key).where(here, _key.c.created_at < store_clock(-RETENTION_S)))
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    take = (
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
    if connection.scalar(take) is not None:
        return None
    used = connection.execute(select(_key.c.request_hash, _key.c.answer).where(here)).one()
    if used.request_hash != request_hash:
        raise Conflict(
            "This Idempotency-Key was used for another request.",
            suggestions=("Use a new key for a new request; repeat a request just as it was.",),
        )
    answer: dict[str, Any] = used.answer
    return answer


def save_answer(
    connection: Connection, workspace_id: UUID, path: str, key: str, answer: Mapping[str, Any]
) -> None:
    """Keep `answer` for whoever repeats the request."""
    here = (_key.c.workspace_id == workspace_id) & (_key.c.path == path) & (_key.c.key == key)
    connection.execute(_key.update().where(here).values(answer=dict(answer)))


def delete_expired(connection: Connection) -> int:
    """Remove keys that are no longer kept; how many."""
    return connection.execute(delete(_key).where(_key.c.created_at < store_clock(-RETENTION_S))).rowcount
