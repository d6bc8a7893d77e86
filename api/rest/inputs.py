"""What endpoints are handed: the service, the caller's workspace, and strict query parameters."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Query, Request
from pydantic import BeforeValidator

from api.requests import MAX_KEY_LENGTH, MAX_PAGE
from api.service import Service
from shared.domain.errors import ValidationError

MAX_ID_LENGTH = 100
#: Of all paths that are checked here.
PREFIX = "/v1"


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _workspace(request: Request) -> UUID:
    workspace_id: UUID = request.state.workspace_id
    return workspace_id


def _whole_number(value: object) -> object:
    """Query strings are text; only plain digits are a number."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise ValueError("give a whole number in plain digits")
        return int(value)
    return value


def _flag(value: object) -> object:
    if isinstance(value, str):
        if value not in {"true", "false"}:
            raise ValueError("give true or false")
        return value == "true"
    return value


async def check_query(request: Request) -> None:
    """Raises ValidationError for a query parameter that is not this endpoint's, or that is given twice."""
    request.state.route = PREFIX + request.scope["route"].path
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    given: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            there_is = ", ".join(sorted(known)) or "none"
            raise ValidationError(
                f"There is no query parameter {name[:MAX_ID_LENGTH]!r} here; there is {there_is}."
            )
        if name in given:
            raise ValidationError(f"The query parameter {name} is given twice.")
        given.add(name)


TheService = Annotated[Service, Depends(_service)]
Workspace = Annotated[UUID, Depends(_workspace)]
IdInPath = Annotated[str, Path(max_length=MAX_ID_LENGTH, description="UUID or alias.")]
IdInQuery = Annotated[str | None, Query(max_length=MAX_ID_LENGTH, description="UUID or alias.")]
# The bounds come first, nearest to the number: else /openapi.json does not have them.
_ITEMS = Query(ge=1, le=MAX_PAGE, description="Most items of a page.")
Limit = Annotated[int, _ITEMS, BeforeValidator(_whole_number)]
LimitIfAny = Annotated[int | None, _ITEMS, BeforeValidator(_whole_number)]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]
Round = Annotated[
    int | None,
    Query(alias="round", ge=1, description="Counts from 1; only with ask_id."),
    BeforeValidator(_whole_number),
]
Flag = Annotated[bool, BeforeValidator(_flag), Query()]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description="Repeat a request with the same key, and it is done once. Kept for 24 hours.",
    ),
]
