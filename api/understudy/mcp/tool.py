"""MCP tools: functions of the service with the metadata that models need."""

import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, get_type_hints

import pydantic
from pydantic import TypeAdapter

from understudy.domain.errors import ValidationError
from understudy.envelopes.simulations import RunStudyResponse
from understudy.mcp.tool_call import Call
from understudy.operations.validation_messages import format_problems


class Tier(StrEnum):
    """The effect of a call."""

    READ_ONLY = "read-only"
    WRITE = "write"
    LONG_RUNNING = "long-running"


class Tool(NamedTuple):
    """One tool. Its function defines name, request, answer and description."""

    name: str
    title: str
    tier: Tier
    tags: tuple[str, ...]
    description: str
    request: TypeAdapter[Any]
    answer: Any
    #: Takes the call and the parsed request; a coroutine function only if it waits.
    work: Callable[[Call, Any], Any]
    #: JSON Schema that the models do not express; added to the request schema.
    extra_schema: dict[str, Any]

    @property
    def returns_failures_in_body(self) -> bool:
        """Returns True if failures are in the response body, not errors. Source: contract section 5."""
        return self.answer is RunStudyResponse

    def parse(self, arguments: dict[str, Any], argument_error: ValidationError | None) -> Any:
        """Returns the parsed request. Raises ValidationError, or `argument_error` if set."""
        if argument_error is not None:
            raise argument_error
        try:
            return self.request.validate_python(arguments)
        except pydantic.ValidationError as error:
            raise ValidationError(format_problems(error.errors())) from error


def tool(
    title: str, tier: Tier, *tags: str, extra_schema: dict[str, Any] | None = None
) -> Callable[[Callable[[Call, Any], Any]], Tool]:
    """Returns a decorator that turns `(call, request) -> envelope` into a tool; models read its docstring."""

    def make(work: Callable[[Call, Any], Any]) -> Tool:
        hints = get_type_hints(work, include_extras=True)
        return Tool(
            name=work.__name__,
            title=title,
            tier=tier,
            tags=tags,
            description=_unwrapped(inspect.getdoc(work) or ""),
            request=TypeAdapter(hints["request"]),
            answer=hints["return"],
            work=work,
            extra_schema=extra_schema or {},
        )

    return make


def _unwrapped(text: str) -> str:
    """Joins each paragraph into one line: readers do not need the source's line breaks."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
