"""What comes in at the MCP door, looked at before the SDK reads it."""

import json
from typing import Any

from understudy.admission.middleware import MAX_BODY, MIB, CheckedBody, NotJson, TooLarge, check_json
from understudy.domain.errors import ValidationError

#: The one tool whose arguments may be as large as a panel of people.
_LARGE_ARGUMENTS_TOOL = "person_create"


def check_message(body: bytes) -> CheckedBody:
    """A message as it is to be read on.

    JSON that REST refuses is refused here too. A tool call that has some goes on without its arguments: its
    caller is told as of any bad argument. Raises NotJson, TooLarge, and ValidationError for what is no call.
    """
    flaw: ValidationError | None = None
    try:
        check_json(body)
    except NotJson:
        raise
    except ValidationError as error:
        flaw = error
    if flaw is None and len(body) <= MAX_BODY:
        return CheckedBody(body, None)
    name, without = _without_arguments(body)
    if flaw is None:
        if name == _LARGE_ARGUMENTS_TOOL:
            return CheckedBody(body, None)
        flaw = TooLarge(f"The arguments are over the limit of {MAX_BODY // MIB} MiB.")
    if without is None:
        raise flaw
    return CheckedBody(without, flaw)


def _without_arguments(body: bytes) -> tuple[Any, bytes | None]:
    """The tool that is called, and the call with no arguments; twice None when it is no call."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    match message:
        case {"method": "tools/call", "params": {"name": name} as params}:
            bare = message | {"params": params | {"arguments": {}}}
            return name, json.dumps(bare).encode()
    return None, None
