"""Checks what a study and its iterations name: success condition, environment, content, mind and time limits."""

from typing import NamedTuple

import pydantic

from understudy.domain.errors import ValidationError
from understudy.operations.content import quote
from understudy.operations.requests import AskRunRequest, IterationRequest
from understudy.operations.success_request import SuccessRequest
from understudy.operations.validation_messages import format_problems
from understudy.plugins.registry import content_model, environments, mind_error
from understudy.plugins.url_patterns import InvalidPattern, check_pattern
from understudy.settings import Settings


def check_iteration(settings: Settings, modality: str, request: IterationRequest) -> None:
    """Raises ValidationError unless content, mind and time limits are valid for this modality on this server."""
    supported = sorted(environments(modality))
    environment = request.content.get("environment")
    if environment not in supported:
        raise ValidationError(
            f"content.environment {quote(environment)} does not fit modality {modality!r}; "
            f"this server has {', '.join(supported) or 'none for it'}."
        )
    if model := content_model(str(environment)):
        try:
            model.model_validate(request.content)
        except pydantic.ValidationError as error:
            raise ValidationError(f"content.{format_problems(error.errors())}") from error
    check_mind(request.mind)
    time_limits(settings, request)


def check_success(success: SuccessRequest | None) -> None:
    """Raises ValidationError unless the pattern of a success condition can be matched."""
    if success is not None and success.url_matches is not None:
        try:
            check_pattern(success.url_matches)
        except InvalidPattern as error:
            raise ValidationError(
                f"assignment.success.url_matches {quote(success.url_matches)} is not a pattern of RE2 "
                f"(no lookaround, no references to groups): {error}"
            ) from None


class TimeLimits(NamedTuple):
    """The time limits of an iteration or ask, in seconds."""

    step_timeout_s: float
    run_timeout_s: float


def time_limits(settings: Settings, request: IterationRequest | AskRunRequest) -> TimeLimits:
    """Returns the time limits that a request asks for; a default is bounded by the operator's maximum.

    Raises ValidationError for one above it.
    """
    return TimeLimits(
        _bounded(request, "step_timeout", settings.max_step_timeout_s),
        _bounded(request, "run_timeout", settings.max_run_timeout_s),
    )


def _bounded(request: IterationRequest | AskRunRequest, name: str, maximum_s: float) -> float:
    value: float = getattr(request, name)
    if value > maximum_s and name in request.model_fields_set:
        raise ValidationError(f"{name} must be at most {maximum_s:g} seconds; {value:g} was given.")
    return min(value, maximum_s)


def check_mind(name: str) -> None:
    """Raises ValidationError unless this server has such a mind."""
    if problem := mind_error(name):
        raise ValidationError(problem)
