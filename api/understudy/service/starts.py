"""Starts happen once per idempotency key, whichever interface repeats them. Source: contract section 6, P11.

A key counts per workspace, operation and resolved target. The request is compared by a hash of its meaning: ids
are resolved, texts normalised, and how the caller waits does not count.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from understudy.domain.errors import Conflict, NotFound
from understudy.domain.ids import Kind
from understudy.operations.request_base import Request
from understudy.service.call import Call
from understudy.service.previous_keys import find_previous_answer
from understudy.store import Connection, idempotency
from understudy.store.aliases import find, find_many

#: Fields that say how the caller waits.
_WAIT = frozenset({"wait", "timeout"})


class Start(NamedTuple):
    """A start that a call asks for. Two with one key are the same if operation, target and meaning are equal."""

    operation: str
    #: The object in which it creates something; None for the workspace.
    target: UUID | None
    #: Returns the request with resolved ids and normalised texts; called only for a call with a key.
    meaning: Callable[[], Mapping[str, Any]]

    @property
    def path(self) -> str:
        return self.operation if self.target is None else f"{self.operation}:{self.target}"

    @property
    def hash(self) -> str:
        canonical = json.dumps(self.meaning(), sort_keys=True, default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()


def meaning_of(request: Request, **resolved: Any) -> dict[str, Any]:
    """Returns the fields that decide what is created, with `resolved` in place of the caller's spelling.

    Fields that are null are absent, so that fields of later versions do not change the hash.
    """
    fields = request.model_dump(mode="json", exclude_none=True, exclude=set(_WAIT)) | resolved
    return {name: value for name, value in fields.items() if value is not None}


def start_once(
    connection: Connection, call: Call, start: Start, request: Request, create: Callable[[], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Returns the answer of this start, or the answer of an earlier call with the same key.

    `create` creates the objects in the caller's transaction and returns the answer to store, as JSON data. A
    concurrent call with the same key waits for the end of that transaction. Raises Conflict if another request
    used the key.
    """
    if call.key is None:
        return create()
    previous = find_previous_answer(connection, call, start.operation, start.target, request)
    if previous is not None:
        return _kept(connection, call, previous)
    stored = idempotency.find_or_reserve(connection, call.workspace_id, start.path, call.key, start.hash)
    if stored is not None:
        return _kept(connection, call, stored)
    answer = create()
    idempotency.save_answer(connection, call.workspace_id, start.path, call.key, answer)
    return answer


def _kept(connection: Connection, call: Call, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the stored answer. Raises Conflict if what it names was deleted."""
    try:
        for kind in (Kind.STUDY, Kind.ITERATION, Kind.ASK):
            name = f"{kind.name.lower()}_id"
            if answer.get(name):
                find(connection, call.workspace_id, kind, answer[name], name)
        find_many(connection, call.workspace_id, Kind.PERSON, answer.get("person_ids", ()), "person_ids")
    except NotFound as error:
        raise Conflict(
            "This Idempotency-Key created something that was deleted since.",
            suggestions=("Use a new key for a new request.",),
        ) from error
    return answer
