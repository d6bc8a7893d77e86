"""What the client's methods take, and how it is put into requests."""

from collections.abc import Mapping
from typing import Any, TypeAlias
from uuid import UUID

from understudy.domain.ids import Kind, parse_ref

Id: TypeAlias = str | UUID
#: Of lists: most entries of the answer, and where it goes on.
Limit: TypeAlias = int | None
Cursor: TypeAlias = str | None
Json: TypeAlias = Mapping[str, Any]


def path_segment(kind: Kind, id_: Id) -> str:
    """An id as part of a path. Raises ValidationError."""
    # Read before it becomes part of one: "../people" is no participant.
    ref = parse_ref(kind, str(id_), f"{kind.name.lower()}_id")
    return ref.alias or str(ref.uuid)


def text(id_: Id | None) -> str | None:
    """An id as part of a body or query."""
    return None if id_ is None else str(id_)


def wait_fields(wait: bool, timeout: float) -> dict[str, Any]:
    """The fields about waiting."""
    # A server may allow less than our default: not to be told where nothing waits.
    return {"wait": True, "timeout": timeout} if wait else {}
