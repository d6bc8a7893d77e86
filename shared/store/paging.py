"""Lists in pages, by key: a page costs the same at any depth, and rows added meanwhile shift nothing."""

import base64
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Select, Table, tuple_

from shared.domain.errors import ValidationError
from shared.store.engine import AnyRow


class Cursor(NamedTuple):
    """Where a page ended: lists are in order of creation, and by id among those created together."""

    created_at: datetime
    id: UUID

    def encode(self) -> str:
        """As callers see it: opaque."""
        raw = json.dumps([self.created_at.isoformat(), str(self.id)]).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Raises ValidationError for anything that we did not give out."""
        try:
            moment, id_ = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            cursor = cls(datetime.fromisoformat(moment), UUID(id_))
            cursor.created_at.astimezone(UTC)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValidationError("cursor must be the next_cursor of an earlier page.") from error
        return cursor


def page(
    connection: Connection, statement: Select[Any], table: Table, cursor: str | None, limit: int
) -> tuple[list[AnyRow], str | None]:
    """One page of `statement` in order of creation, and the cursor of the next; None on the last."""
    if cursor is not None:
        statement = statement.where(tuple_(table.c.created_at, table.c.id) > tuple_(*Cursor.decode(cursor)))
    rows = connection.execute(statement.order_by(table.c.created_at, table.c.id).limit(limit + 1)).all()
    if len(rows) <= limit:
        return list(rows), None
    last = rows[limit - 1]
    return list(rows[:limit]), Cursor(last.created_at, last.id).encode()
