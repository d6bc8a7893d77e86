"""What a tool is: a function of the service, with what a model must know to use it."""

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
    """How much a call can do."""

    READ_ONLY = "read-only"
    WRITE = "write"
    LONG_RUNNING = "long-running"


class Tool(NamedTuple):
    """One tool. Its name, request, answer and description are those of its function."""

    name: str
    title: str
    tier: Tier
    tags: tuple[str, ...]
    description: str
    request: TypeAdapter[Any]
    answer: Any
    #: Given the call and the parsed request; a coroutine function only where it waits.
    work: Callable[[Call, Any], Any]
    #: JSON Schema that no model says, added to that of the request.
    extra_schema: dict[str, Any]

    @property
    def returns_failures_in_body(self) -> bool:
        """Are failures answered in its body, and not as errors? Source: contract section 5."""
        return self.answer is RunStudyResponse

    def parse(self, arguments: dict[str, Any], argument_error: ValidationError | None) -> Any:
        """The request that `arguments` are. Raises ValidationError, or `argument_error` if it is known."""
        if argument_error is not None:
            raise argument_error
        try:
            return self.request.validate_python(arguments)
        except pydantic.ValidationError as error:
            raise ValidationError(format_problems(error.errors())) from error


def tool(
    title: str, tier: Tier, *tags: str, more_schema: dict[str, Any] | None = None
) -> Callable[[Callable[[Call, Any], Any]], Tool]:
    """Make a tool of a function `(call, request) -> envelope`; its docstring is what models read."""

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
            extra_schema=more_schema or {},
        )

    return make


def _unwrapped(text: str) -> str:
    """Paragraphs as single lines: where ours break means nothing to a reader elsewhere."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
