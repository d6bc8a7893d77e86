"""The definition of an operation: the one source of everything that its interfaces offer.

From it follow the REST route and its OpenAPI description, the MCP tool, the methods of both clients, options of
the command line, the idempotency key and the reference pages. Definitions hold models and words;
`understudy.service.handlers` has the functions that do the work, so that the client needs no server code.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, create_model
from pydantic.fields import FieldInfo

from understudy.domain.ids import Kind
from understudy.domain.roles import Role
from understudy.envelopes.simulations import RunStudyResponse
from understudy.operations.requests import Id

_IN_PATH = re.compile(r"\{(\w+)(?::path)?\}")

#: The kind of object that an id parameter names.
KINDS = {f"{kind.name.lower()}_id": kind for kind in Kind if kind is not Kind.WORKSPACE}


class Tier(StrEnum):
    """The effect of a call."""

    READ_ONLY = "read-only"
    WRITE = "write"
    LONG_RUNNING = "long-running"
    DESTRUCTIVE = "destructive"


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation, the same over every interface. Source: contract section 6."""

    #: The id of its REST operation, and the name of its client method and its tool.
    name: str
    method: Literal["GET", "POST", "DELETE"]
    #: REST path; the parameters in it are arguments besides the fields of `request`.
    path: str
    tier: Tier
    #: The first one also groups the REST routes.
    tags: tuple[str, ...]
    title: str
    #: The first paragraph is a summary; the others explain.
    documentation: str
    #: Model of the body of a POST, or of the query of a GET or DELETE.
    request: Any
    answer: Any
    #: Creates something: takes an idempotency key.
    starts: bool = False
    #: Participants visit something outside of this installation.
    visits: bool = False
    #: A repetition changes nothing.
    repeatable: bool = False
    #: No limit on the requests of a workspace refuses it.
    is_never_refused: bool = False
    #: Arguments for the examples of all interfaces.
    example: Mapping[str, Any] = field(default_factory=dict)
    #: Value of `view` -> model of the answer, if it depends on the view.
    views: Mapping[str, Any] = field(default_factory=dict)
    #: Arguments that the client also takes by position, besides those of the path.
    positional: tuple[str, ...] = ()
    #: REST address of the created object, formatted with the answer.
    location: str = ""
    #: Name of the operation of which this is another REST route; then it is no tool and no client method.
    route_of: str = ""

    @property
    def dispatches(self) -> bool:
        """Returns True if the answer is a RunStudyResponse: it may wait, and failures are in its body."""
        return self.answer is RunStudyResponse

    @property
    def role(self) -> Role:
        """Returns the least role that may call it."""
        return {Tier.READ_ONLY: Role.VIEWER, Tier.DESTRUCTIVE: Role.ADMIN}.get(self.tier, Role.EDITOR)

    @property
    def has_body(self) -> bool:
        return self.method == "POST"

    @property
    def is_repeatable(self) -> bool:
        return self.repeatable or self.method == "GET"

    @property
    def path_parameters(self) -> tuple[str, ...]:
        return tuple(_IN_PATH.findall(self.path))

    @cached_property
    def fields(self) -> Mapping[str, FieldInfo]:
        """Returns the fields of the request by name; of a request with several forms, those of all forms."""
        return {name: info for form in forms_of(self.request) for name, info in form.model_fields.items()}

    @cached_property
    def _model(self) -> Any:
        """Returns the model of all arguments: the request, with the parameters of the path."""
        if not self.path_parameters:
            return self.request
        in_path: dict[str, Any] = {name: (path_type(name), ...) for name in self.path_parameters}
        return create_model(f"{self.request.__name__}At", __base__=self.request, **in_path)

    @cached_property
    def arguments(self) -> TypeAdapter[Any]:
        """Returns the parser of all arguments in one object."""
        return TypeAdapter(self._model)

    def bind(self, request: Any, path: Mapping[str, str]) -> Any:
        """Returns a parsed request together with the parameters of its path, as `arguments` parses them."""
        if not path:
            return request
        fields_set = request.model_fields_set | path.keys()
        return self._model.model_construct(_fields_set=fields_set, **dict(request), **path)


def forms_of(request: Any) -> Sequence[Any]:
    """Returns the models of a request: one, or those of a union with a discriminator."""
    if isinstance(request, type):
        return [request]
    union, _ = get_args(request)
    return [get_args(form)[0] for form in get_args(union)]


def path_type(name: str) -> Any:
    """Returns the type of a path parameter, with its description."""
    if name not in KINDS:
        return Annotated[str, Field(description="The page, such as concepts/overview.")]
    kind = KINDS[name]
    return Annotated[Id, Field(description=f"The {kind.name.lower()}: UUID or alias, such as {kind}-1f3.")]
