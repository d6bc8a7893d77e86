"""Checks each MCP message before the SDK parses it."""

import json
from typing import Any

from understudy.admission.middleware import MAX_BODY, MIB, CheckedBody, NotJson, TooLarge, check_json
from understudy.domain.errors import ValidationError
from understudy.operations.registry import OPERATIONS

#: The only tool whose arguments may be as large as a panel of people.
_LARGE_ARGUMENTS_TOOL = "person_create"
#: Messages that a client sends before it can call a tool: without them, no limit refuses a cancel.
_HANDSHAKE = frozenset({"initialize", "notifications/initialized", "ping", "server/discover", "tools/list"})
_NEVER_REFUSED_TOOLS = frozenset(operation.name for operation in OPERATIONS.values() if operation.is_never_refused)


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
    message = _parse(body)
    match message:
        case {"method": "tools/call", "params": {"name": str(name)}}:
            checked = CheckedBody(body, None, is_limited=name not in _NEVER_REFUSED_TOOLS, takes_error=True)
        case {"method": method}:
            return _checked(CheckedBody(body, None, is_limited=method not in _HANDSHAKE), argument_error)
        case _:
            return _checked(CheckedBody(body, None, is_limited=False), argument_error)
    if argument_error is None and len(body) > MAX_BODY and name != _LARGE_ARGUMENTS_TOOL:
        argument_error = _too_large()
    if argument_error is None:
        return checked
    call = message | {"params": message["params"] | {"arguments": {}}}
    return checked._replace(body=json.dumps(call).encode(), argument_error=argument_error)


def _checked(checked: CheckedBody, error: ValidationError | None) -> CheckedBody:
    """Returns the body of a message that calls no tool. Raises what is wrong with it."""
    if error is None and len(checked.body) > MAX_BODY:
        error = _too_large()
    if error is not None:
        raise error
    return checked


def _too_large() -> TooLarge:
    return TooLarge(f"The arguments are over the limit of {MAX_BODY // MIB} MiB.")


def _parse(body: bytes) -> Any:
    """Returns the message; None if it cannot be parsed."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
