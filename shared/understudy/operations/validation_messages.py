"""Describes validation errors in the same words for every interface."""

from collections.abc import Sequence
from typing import Any

_MAX_PROBLEMS = 5
#: Maximum characters of a caller's name that an error repeats.
MAX_NAME = 100


def format_problems(problems: Sequence[Any], skip: int = 0) -> str:
    """Returns pydantic's errors as `field: problem`; omits the first `skip` parts of each field's path.

    It never repeats the values that were sent: they may contain anything.
    """
    messages = []
    for problem in problems[:_MAX_PROBLEMS]:
        path = ".".join(str(part)[:MAX_NAME] for part in problem["loc"][skip:])
        message = str(problem["msg"]).removeprefix("Value error, ")
        messages.append(f"{path}: {message}" if path else message)
    if len(problems) > _MAX_PROBLEMS:
        messages.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return "; ".join(messages)
