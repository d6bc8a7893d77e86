"""Honours the idempotency keys that the previous version stored, for the 24 hours that they are kept.

It stored a key under the path as the caller spelled it, with a hash of the request as the caller spelled it. To be
removed one version after this one.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any
from uuid import UUID

from understudy.domain.errors import Conflict
from understudy.operations.request_base import Request
from understudy.service.call import Call
from understudy.store import Connection, idempotency

#: Operation -> the paths under which it was stored, and the field of the stored answer that names its target.
_STORED: dict[str, tuple[re.Pattern[str], str]] = {
    "study_run": (re.compile(r"/v1/studies/[^/]+/run"), "study_id"),
    "ask_run": (re.compile(r"/v1/asks"), ""),
    "ask_round": (re.compile(r"/v1/asks/[^/]+/rounds"), "ask_id"),
    "simulation_extend": (re.compile(r"/v1/(simulations|participants/[^/]+)/extend"), "extended_from"),
}
#: Operation -> the fields of its request in the order in which they were hashed; of an extend, both forms.
_PANEL = ("person_ids", "sample", "where")
_EXTEND = ("additional_steps", "instruction", "wait", "timeout")
_HASHED: dict[str, tuple[tuple[str, ...], ...]] = {
    "study_run": ((*_PANEL, "iteration_id", "max_interactions", "seed", "wait", "timeout"),),
    "ask_run": (
        (
            *_PANEL,
            *("question", "variants", "max_interactions", "mind", "step_timeout", "run_timeout"),
            *("seed", "wait", "timeout"),
        ),
    ),
    "ask_round": (("question", "variants", "seed", "wait", "timeout"),),
    "simulation_extend": (_EXTEND, (*_EXTEND, "participant_id")),
}


def find_previous_answer(
    connection: Connection, call: Call, operation: str, target: UUID | None, request: Request
) -> Mapping[str, Any] | None:
    """Returns the answer that the previous version stored for this call, or None.

    Raises Conflict if it stored the key for another request: nothing is started in either case.
    """
    if operation not in _STORED or call.key is None:
        return None
    pattern, names_target = _STORED[operation]
    stored = [
        row
        for row in idempotency.find_by_key(connection, call.workspace_id, call.key)
        if pattern.fullmatch(row.path) and (not names_target or row.answer.get(names_target) == str(target))
    ]
    if not stored:
        return None
    hashes = set(_hashes(operation, request))
    for row in stored:
        if row.request_hash in hashes:
            answer: Mapping[str, Any] = row.answer
            return answer
    raise Conflict(
        "This Idempotency-Key was used for another request.",
        suggestions=("Use a new key for a new request, or repeat the first request unchanged.",),
    )


def _hashes(operation: str, request: Request) -> Iterator[str]:
    """Yields the hashes that the previous version may have stored for this request."""
    fields = json.loads(request.model_dump_json())
    waits = [(fields["wait"], fields["timeout"]), (False, 600.0), (False, fields["timeout"]), (True, fields["timeout"])]
    for names, (wait, timeout) in product(_HASHED[operation], waits):
        for spelled in _spellings(fields) if "participant_id" in names else (fields,):
            values = {**spelled, "wait": wait, "timeout": timeout}
            dumped = {name: values[name] for name in names if not (name == "where" and values[name] is None)}
            canonical = json.dumps(dumped, separators=(",", ":"), ensure_ascii=False)
            yield hashlib.sha256(canonical.encode()).hexdigest()


def _spellings(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for spelling in {fields["participant_id"], fields["participant_id"].lower(), fields["participant_id"].upper()}:
        yield {**fields, "participant_id": spelling}
