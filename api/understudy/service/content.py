"""Checks what an iteration names: its environment and content, and its mind."""

import pydantic

from understudy.domain.errors import ValidationError
from understudy.operations.content import quote
from understudy.operations.requests import IterationRequest
from understudy.operations.validation_messages import format_problems
from understudy.plugins.registry import content_model, environments, mind_error


def check_iteration(modality: str, request: IterationRequest) -> None:
    """Raises ValidationError unless content and mind are valid for this modality on this server."""
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


def check_mind(name: str) -> None:
    """Raises ValidationError unless this server has such a mind."""
    if problem := mind_error(name):
        raise ValidationError(problem)
