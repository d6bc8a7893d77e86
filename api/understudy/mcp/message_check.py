"""Checks each MCP message before the SDK parses it."""

import json
from typing import Any

from understudy.admission.middleware import MAX_BODY, MIB, CheckedBody, NotJson, TooLarge, check_json
from understudy.domain.errors import ValidationError

#: The only tool whose arguments may be as large as a panel of people.
_LARGE_ARGUMENTS_TOOL = "person_create"


def check_message(body: bytes) -> CheckedBody:
    """Returns the message body for the SDK.

    Rejects the same JSON as REST. A tool call with such JSON continues without its arguments: the tool then
    reports the error like any invalid argument. Raises NotJson, and TooLarge or ValidationError if no call.
    """
    argument_error: ValidationError | None = None
    try:
        check_json(body)
    except NotJson:
        raise
    except ValidationError as error:
        argument_error = error
    if argument_error is None and len(body) <= MAX_BODY:
        return CheckedBody(body, None)
    name, stripped = _without_arguments(body)
    if argument_error is None:
        if name == _LARGE_ARGUMENTS_TOOL:
            return CheckedBody(body, None)
        argument_error = TooLarge(f"The arguments are over the limit of {MAX_BODY // MIB} MiB.")
    if stripped is None:
        raise argument_error
    return CheckedBody(stripped, argument_error)


def _without_arguments(body: bytes) -> tuple[Any, bytes | None]:
    """Returns the name of the called tool and the call without arguments; (None, None) for other messages."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    match message:
        case {"method": "tools/call", "params": {"name": name} as params}:
            call = message | {"params": params | {"arguments": {}}}
            return name, json.dumps(call).encode()
    return None, None
