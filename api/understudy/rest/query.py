"""Query parameters: text that is parsed as strictly as the numbers and flags of a body."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

import pydantic
from fastapi import HTTPException, Query, Request
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from understudy.domain.errors import ValidationError
from understudy.operations.operation import Operation
from understudy.operations.registry import OPERATIONS
from understudy.operations.validation_messages import MAX_NAME, format_problems

_FIXED_PATHS = frozenset(operation.path for operation in OPERATIONS.values() if not operation.path_parameters)
#: Maximum characters of a parameter that is a list.
MAX_LIST_LENGTH = 2_000


def whole_number(value: object) -> object:
    """Parses plain digits as a number."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise ValueError("give a whole number in plain digits")
        return int(value)
    return value


def flag(value: object) -> object:
    """Parses `true` and `false`."""
    if isinstance(value, str):
        if value not in {"true", "false"}:
            raise ValueError("give true or false")
        return value == "true"
    return value


def query_parameters(operation: Operation) -> list[inspect.Parameter]:
    """Returns the parameters of an endpoint for the fields of a GET request."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=_annotation(field, operation.example.get(name)),
            default=None if field.is_required() else field.default,
        )
        for name, field in operation.fields.items()
    ]


def parse_query(operation: Operation, given: Mapping[str, Any]) -> Any:
    """Returns the request of a GET, or that of a POST without body. Raises ValidationError."""
    values = {name: value for name, value in given.items() if value is not None}
    for name, field in operation.fields.items():
        if name in values and _plain_type(field) is list:
            values[name] = values[name].split(",")
    try:
        return operation.request.model_validate(values)
    except pydantic.ValidationError as error:
        raise ValidationError(format_problems(error.errors())) from error


async def check_query(request: Request) -> None:
    """Raises ValidationError for a query parameter that is unknown to this endpoint or given twice."""
    if request.path_params and request.scope["path"] in _FIXED_PATHS:
        # The path of another operation, such as /v1/people/export, is no id.
        raise HTTPException(405)
    request.state.route = request.scope["route"].path
    dependant = request.scope["route"].dependant
    known = {parameter.alias for part in (dependant, *dependant.dependencies) for parameter in part.query_params}
    seen_names: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise ValidationError(f"Unknown query parameter {name[:MAX_NAME]!r}; this endpoint has {allowed}.")
        if name in seen_names:
            raise ValidationError(f"The query parameter {name} is given twice.")
        seen_names.add(name)


def _annotation(field: FieldInfo, example: Any) -> Any:
    examples = None if example is None else [example]
    plain = _plain_type(field)
    if plain is list:
        description = f"{field.description} Separate several by commas."
        return Annotated[
            str | None, Query(min_length=1, max_length=MAX_LIST_LENGTH, description=description, examples=examples)
        ]
    parsers = {int: (BeforeValidator(whole_number),), bool: (BeforeValidator(flag),)}.get(plain, ())
    # Bounds come first, next to the type; otherwise /openapi.json omits them.
    query = Query(description=field.description, examples=examples)
    return Annotated[(field.annotation, *field.metadata, query, *parsers)]


def _plain_type(field: FieldInfo) -> Any:
    """Returns the type of a field when it is not null, without constraints: `int`, `list`, …"""
    annotation = field.annotation
    options = [option for option in get_args(annotation) if option is not type(None)]
    if type(None) in get_args(annotation):
        annotation = options[0]
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_origin(annotation) or annotation
