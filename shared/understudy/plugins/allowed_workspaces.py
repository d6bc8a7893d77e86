"""Allowed workspaces: who may use something of the operator."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

#: Allows every workspace.
ALL = "*"


class Workspace(NamedTuple):
    """The workspace of a run."""

    id: UUID | None = None
    name: str = ""


class AllowedWorkspaces:
    """Names or ids of workspaces, or `*` for all. An empty list allows none."""

    def __init__(self, entries: Sequence[str] = ()) -> None:
        """Raises ValueError for an entry that is no text or is empty."""
        if not all(isinstance(entry, str) and entry.strip() for entry in entries):
            raise ValueError
        ids = {entry: _as_id(entry) for entry in entries}
        self._all = ALL in ids
        self._ids = frozenset(id_ for id_ in ids.values() if id_ is not None)
        # An id names only itself: a workspace that is called like the id of another one gets nothing.
        self._names = frozenset(entry for entry, id_ in ids.items() if id_ is None)

    def allow(self, workspace: Workspace) -> bool:
        """Returns whether `workspace` is in the list."""
        return self._all or workspace.id in self._ids or (workspace.name != "" and workspace.name in self._names)


def read_list(value: Any) -> AllowedWorkspaces:
    """Returns the workspaces of a list in a file. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError  # noqa: TRY004 - one error for a wrong list
    return AllowedWorkspaces(value)


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
