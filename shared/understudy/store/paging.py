"""Lists in pages, by key: a page costs the same at any depth, and rows added meanwhile shift nothing.

A cursor belongs to the list it came from: it carries a hash of where it points and of all that the list is
selected by, the workspace included. With any other list it is refused.
"""

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Table, tuple_

from shared.domain.errors import ValidationError
from shared.store.engine import AnyRow

_SEAL_SIZE = 12


def seal(position: str, *of: object) -> str:
    """A cursor that points to `position` in the list that `of` tells from all others."""
    return base64.urlsafe_b64encode(_seal(position, of) + position.encode()).decode().rstrip("=")


def unseal(cursor: str, *of: object) -> str:
    """The position of a cursor that `seal` made for the same list. Raises ValidationError for all others."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = raw[_SEAL_SIZE:].decode()
    except ValueError as error:
        raise _foreign() from error
    # Compared as it was given out: base64 has more than one way to write most things.
    if not hmac.compare_digest(cursor.encode(), seal(position, *of).encode()):
        raise _foreign()
    return position


def _seal(position: str, of: tuple[object, ...]) -> bytes:
    sealed = json.dumps([position, *map(str, of)]).encode()
    return hashlib.blake2b(sealed, digest_size=_SEAL_SIZE).digest()


def _foreign() -> ValidationError:
    return ValidationError("cursor must be the next_cursor of an earlier page of this very list.")


def page(
    connection: Connection,
    statement: Select[Any],
    table: Table,
    cursor: str | None,
    limit: int,
    *,
    of: str = "",
) -> tuple[list[AnyRow], str | None]:
    """One page of `statement` in order of creation, and the cursor of the next; None on the last.

    `of`: what it is selected by besides values, such as the sign of a comparison.
    """
    # What a list is selected by are the values in its statement: no condition can be forgotten.
    given = statement.compile(dialect=connection.dialect).params
    given |= {"of": of} if of else {}
    seals = (table.name, *(f"{name}={value}" for name, value in sorted(given.items())))
    if cursor is not None:
        moment, _, id_ = unseal(cursor, *seals).partition(" ")
        after = (datetime.fromisoformat(moment), UUID(id_))
        statement = statement.where(tuple_(table.c.created_at, table.c.id) > tuple_(*after))
    rows = connection.execute(statement.order_by(table.c.created_at, table.c.id).limit(limit + 1)).all()
    if len(rows) <= limit:
        return list(rows), None
    last = rows[limit - 1]
    return list(rows[:limit]), seal(f"{last.created_at.isoformat()} {last.id}", *seals)
