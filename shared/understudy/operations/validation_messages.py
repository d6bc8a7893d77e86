"""What is wrong with a request, in words that are the same at every door."""

from collections.abc import Sequence
from typing import Any

_MAX_PROBLEMS = 5
#: Characters of a name somebody sent that are repeated to them.
MAX_NAME = 100


def format_problems(problems: Sequence[Any], skip: int = 0) -> str:
    """Each of pydantic's problems as `field: what is wrong`, its place without the first `skip` parts.

    What was sent is not repeated: it may be anything.
    """
    said = []
    for problem in problems[:_MAX_PROBLEMS]:
        where = ".".join(str(part)[:MAX_NAME] for part in problem["loc"][skip:])
        what = str(problem["msg"]).removeprefix("Value error, ")
        said.append(f"{where}: {what}" if where else what)
    if len(problems) > _MAX_PROBLEMS:
        said.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return "; ".join(said)
