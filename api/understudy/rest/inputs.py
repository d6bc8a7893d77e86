"""Defines the inputs of endpoints: the service, the caller's workspace and strict query parameters."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Header, Path, Query, Request
from pydantic import BeforeValidator

from understudy.domain.errors import ValidationError
from understudy.domain.filters import MAX_TERM_LENGTH, PeopleFilter
from understudy.domain.people import MAX_AGE
from understudy.operations.requests import MAX_KEY_LENGTH, MAX_PAGE
from understudy.service import Service

MAX_ID_LENGTH = 100
#: Prefix of all paths whose query parameters are checked.
PREFIX = "/v1"


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _workspace(request: Request) -> UUID:
    workspace_id: UUID = request.state.workspace_id
    return workspace_id


def _whole_number(value: object) -> object:
    """Parses plain digits as a number: query strings are text."""
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
    """Raises ValidationError for a query parameter that is unknown to this endpoint or given twice."""
    request.state.route = PREFIX + request.scope["route"].path
    dependant = request.scope["route"].dependant
    known = {parameter.alias for part in (dependant, *dependant.dependencies) for parameter in part.query_params}
    seen_names: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise ValidationError(f"Unknown query parameter {name[:MAX_ID_LENGTH]!r}; this endpoint has {allowed}.")
        if name in seen_names:
            raise ValidationError(f"The query parameter {name} is given twice.")
        seen_names.add(name)


TheService = Annotated[Service, Depends(_service)]
Workspace = Annotated[UUID, Depends(_workspace)]
IdInPath = Annotated[str, Path(max_length=MAX_ID_LENGTH, description="UUID or alias.")]
IdInQuery = Annotated[str | None, Query(max_length=MAX_ID_LENGTH, description="UUID or alias.")]
# The bounds come first, next to the type; otherwise /openapi.json omits them.
_ITEMS = Query(ge=1, le=MAX_PAGE, description="Maximum number of items on the page.")
Limit = Annotated[int, _ITEMS, BeforeValidator(_whole_number)]
LimitIfAny = Annotated[int | None, _ITEMS, BeforeValidator(_whole_number)]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the previous page.")]
Round = Annotated[
    int | None,
    Query(alias="round", ge=1, description="Number of the round, from 1; only with ask_id."),
    BeforeValidator(_whole_number),
]
Flag = Annotated[bool, BeforeValidator(_flag), Query()]
_ONE_OF = Query(min_length=1, max_length=2_000, description="One of these values, separated by commas.")


async def _where(
    age_min: Annotated[
        int | None,
        Query(ge=0, le=MAX_AGE, description="Minimum age in years."),
        BeforeValidator(_whole_number),
    ] = None,
    age_max: Annotated[
        int | None,
        Query(ge=0, le=MAX_AGE, description="Maximum age in years."),
        BeforeValidator(_whole_number),
    ] = None,
    country: Annotated[str | None, _ONE_OF] = None,
    language: Annotated[str | None, _ONE_OF] = None,
    trait: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=2_000,
            description="All of these, separated by commas: patience<0.3,accessibility=no_pointer.",
        ),
    ] = None,
    search: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=MAX_TERM_LENGTH,
            description="Words that must all occur in name, bio, country or language.",
        ),
    ] = None,
) -> PeopleFilter:
    return PeopleFilter.of(
        age_min=age_min,
        age_max=age_max,
        country=country and country.split(","),
        language=language and language.split(","),
        trait=trait and trait.split(","),
        search=search,
    )


Where = Annotated[PeopleFilter, Depends(_where)]
ExportFormat = Annotated[Literal["json", "csv"], Query(description="`json`, or `csv` for spreadsheets.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description="A request repeated with the same key runs only once. Keys are kept for 24 hours.",
    ),
]
