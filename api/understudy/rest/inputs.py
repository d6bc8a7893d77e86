"""What endpoints are handed: the service, the caller's workspace, and strict query parameters."""

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
    dependant = request.scope["route"].dependant
    known = {
        parameter.alias for part in (dependant, *dependant.dependencies) for parameter in part.query_params
    }
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
_ONE_OF = Query(min_length=1, max_length=2_000, description="One of these, with commas between them.")


async def _where(
    age_min: Annotated[
        int | None,
        Query(ge=0, le=MAX_AGE, description="This old or older."),
        BeforeValidator(_whole_number),
    ] = None,
    age_max: Annotated[
        int | None,
        Query(ge=0, le=MAX_AGE, description="This old or younger."),
        BeforeValidator(_whole_number),
    ] = None,
    country: Annotated[str | None, _ONE_OF] = None,
    language: Annotated[str | None, _ONE_OF] = None,
    trait: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=2_000,
            description="All of these, with commas between them: patience<0.3,accessibility=no_pointer.",
        ),
    ] = None,
    search: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=MAX_TERM_LENGTH,
            description="Each of these words is somewhere in name, bio, country or language.",
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
ExportFormat = Annotated[Literal["json", "csv"], Query(description="json, or csv for spreadsheets.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description="Repeat a request with the same key, and it is done once. Kept for 24 hours.",
    ),
]
