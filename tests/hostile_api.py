"""Answers of all operations whose every text tries to act on a terminal."""

import json
import re
import types
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import parse_qs
from uuid import UUID

from pydantic import BaseModel

from tests.fake_api import NOW, T1, FakeApi, error_body
from understudy.domain.unprintable import UNPRINTABLE
from understudy.envelopes.events import EventTicket
from understudy.envelopes.people import People
from understudy.operations.operation import Operation
from understudy.operations.registry import OPERATIONS

#: Every character that acts on a terminal, in sequences that set its title, clear it, hide text and delete lines.
CHARACTERS = "".join(
    character
    for character in map(chr, [*range(0x10000), *range(0xE0000, 0xE0080)])
    if re.match(f"[{UNPRINTABLE}]", character)
)
HOSTILE = f"\x1b]0;title\x07\x1b[2J\x1b[8mhidden\x9b2K\u202etxt.exe\r{CHARACTERS}&#27;[2J"


class HostileApi(FakeApi):
    """A fake API that answers every operation with hostile text."""

    #: Error code of all answers; empty for success.
    error_code = ""

    def next_answer(self, path: str) -> tuple[int, bytes]:
        if path in self.answers:
            return super().next_answer(path)
        if self.error_code:
            return 422, json.dumps(error_body(self.error_code) | {"error": HOSTILE, "suggestions": [HOSTILE]}).encode()
        request = self.asked[-1]
        if request.path == "/v1/events":
            return 200, b""
        if "format=csv" in request.query:
            return 200, HOSTILE.encode()
        if path.endswith(("ticket", "tickets")):
            return 200, json.dumps(hostile(EventTicket), ensure_ascii=False).encode()
        if request.method == "POST" and path == "/v1/people" and "name" not in (request.body or {}):
            return 201, json.dumps(hostile(People), ensure_ascii=False).encode()
        operation = next(one for one in OPERATIONS.values() if _answers(one, request.method, path))
        view = parse_qs(request.query).get("view", [""])[0]
        return 200, json.dumps(hostile(operation.views.get(view, operation.answer)), ensure_ascii=False).encode()


def _answers(operation: Operation, method: str, path: str) -> bool:
    pattern = re.sub(r"\{\w+:path\}", ".+", operation.path)
    return operation.method == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path) is not None


def hostile(kind: Any) -> Any:
    """Returns a JSON value of this type in which every free text is HOSTILE."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return hostile(inner[0])
    if origin in (Union, types.UnionType):
        return hostile(next(one for one in inner if one is not type(None)))
    if origin is Literal:
        return inner[0]
    if origin is list:
        return [hostile(inner[0])]
    if origin is dict:
        return {hostile(inner[0]): hostile(inner[1])}
    if isinstance(kind, type):
        return _of_class(kind)
    return HOSTILE


def _of_class(kind: type) -> Any:
    if issubclass(kind, BaseModel):
        return dict(_fields(kind))
    if issubclass(kind, Enum):
        return "completed" if "completed" in {one.value for one in kind} else next(iter(kind)).value
    plain = {bool: True, int: 1, float: 0.5, UUID: T1, datetime: NOW}
    return plain.get(kind, HOSTILE)


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if name == "next_cursor":
            yield name, None
        # Participants that are still active would be watched for ever.
        elif name in {"pending_count", "running_count", "draft_count"}:
            yield name, 0
        else:
            yield name, hostile(field.annotation)
