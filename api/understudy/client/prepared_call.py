"""Turns an operation and its arguments into a request, without sending it."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

from understudy.domain.doc_slugs import MAX_SLUG_LENGTH
from understudy.domain.errors import ValidationError
from understudy.domain.ids import Kind, parse_ref
from understudy.operations.operation import KINDS, Operation
from understudy.operations.registry import OPERATIONS
from understudy.operations.requests import DEFAULT_WAIT_S

#: Conditions of a list that are lists themselves.
_LISTS = frozenset({"country", "language", "trait"})


class PreparedCall(NamedTuple):
    """One request, before it is sent."""

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None
    #: Seconds that the server waits before it answers.
    wait_s: float = 0.0
    #: A repetition has no effect.
    is_repeatable: bool = True
    needs_token: bool = True
    #: A failed RunStudyResponse is an answer, no error.
    run_response: bool = False
    idempotency_key: str | None = None
    #: Model of the answer.
    answer: Any = None


def prepare(name: str, arguments: Mapping[str, Any], idempotency_key: str | None = None) -> PreparedCall:
    """Returns the call of an operation. Raises ValidationError for an argument that no request can carry.

    Arguments that are None, and flags that are False, are not sent: the server's defaults apply.
    """
    operation = OPERATIONS[name]
    flags = {name for name, field in operation.fields.items() if field.default is False}
    given = {
        name: _plain(value)
        for name, value in arguments.items()
        if value is not None and not (value is False and name in flags)
    }
    path = {name: _path_segment(name, given.pop(name)) for name in operation.path_parameters}
    wait_s = _wait_s(operation, given)
    # A server's maximum timeout may be below our default: without a wait no timeout is sent.
    sent = {name: value for name, value in given.items() if name != "timeout" or wait_s is not None}
    return PreparedCall(
        operation.method,
        operation.path.replace(":path}", "}").format_map(path),
        params={name: _query_value(name, value) for name, value in sent.items()} if not operation.has_body else None,
        body=sent if operation.has_body else None,
        wait_s=wait_s or 0.0,
        is_repeatable=operation.is_repeatable or idempotency_key is not None,
        run_response=operation.dispatches,
        idempotency_key=idempotency_key,
        answer=operation.views.get(given.get("view", ""), operation.answer),
    )


def one_form(form: str, fields: Mapping[str, Any] | None, **others: Any) -> Mapping[str, Any]:
    """Returns the arguments of a request that has several forms. Raises ValidationError if two are mixed."""
    given = [name for name, value in others.items() if value is not None]
    if fields is None:
        return others
    if given:
        raise ValidationError(f"give either {form} or {', '.join(given)}, not both")
    return fields


def _wait_s(operation: Operation, given: Mapping[str, Any]) -> float | None:
    """Returns the seconds that the call asks the server to wait; None if it does not wait."""
    options = given.get("run", given)
    if not isinstance(options, Mapping) or not (options.get("wait") or operation.name == "simulation_wait"):
        return None
    timeout = options.get("timeout")
    return float(timeout) if isinstance(timeout, int | float) else DEFAULT_WAIT_S


def _path_segment(name: str, value: Any) -> str:
    """Returns an id or a slug as part of a path. Raises ValidationError."""
    if name in KINDS:
        return id_segment(KINDS[name], str(value))
    # Escapes dot segments and path delimiters; one character above the limit is enough for the error.
    return quote(str(value)[: MAX_SLUG_LENGTH + 1], errors="replace").replace(".", "%2E")


def id_segment(kind: Kind, id_: str) -> str:
    # Parsed first: "../people" must not become part of the path.
    ref = parse_ref(kind, id_, f"{kind.name.lower()}_id")
    return ref.alias or str(ref.uuid)


def _plain(value: Any) -> Any:
    """Returns JSON data: ids as text, and every kind of sequence as a list."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value


def _query_value(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, str) and name in _LISTS:
        raise ValidationError(f"{name} must be a list, such as [{value!r}]")
    return value
