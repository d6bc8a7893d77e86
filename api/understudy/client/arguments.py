"""Types of the client's arguments, and their conversion to request parts."""

from collections.abc import Mapping
from typing import Any, TypeAlias
from uuid import UUID

from understudy.domain.ids import Kind, parse_ref

Id: TypeAlias = str | UUID
#: Page of a list: maximum items, and the cursor from the previous page.
Limit: TypeAlias = int | None
Cursor: TypeAlias = str | None
Json: TypeAlias = Mapping[str, Any]


def path_segment(kind: Kind, id_: Id) -> str:
    """Returns an id as a path segment. Raises ValidationError."""
    # Parsed first: "../people" must not become part of the path.
    ref = parse_ref(kind, str(id_), f"{kind.name.lower()}_id")
    return ref.alias or str(ref.uuid)


def text(id_: Id | None) -> str | None:
    """Returns an id as part of a body or query."""
    return None if id_ is None else str(id_)


def wait_fields(wait: bool, timeout: float) -> dict[str, Any]:
    """Returns the body fields for waiting; empty without `wait`."""
    # A server's maximum timeout can be below our default: send no timeout without a wait.
    return {"wait": True, "timeout": timeout} if wait else {}
