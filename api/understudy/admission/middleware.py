"""Checks every request to `/v1` and `/mcp` before an interface sees it: token, size and strict JSON."""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from understudy.admission.errors import error_response
from understudy.admission.tickets import find_tickets, take_ticket
from understudy.domain.errors import AuthFailed, RateLimited, ServiceUnavailable, UnderstudyError, ValidationError
from understudy.operations.registry import OPERATIONS
from understudy.operations.requests import MAX_PEOPLE_BYTES
from understudy.service import Service
from understudy.service.call_limits import Limits, limits_in_force
from understudy.service.coalesced_reads import CoalescedReads
from understudy.service.credentials import Credential
from understudy.store.workspaces import Access, find_access

MIB = 1024 * 1024
MAX_BODY = MIB
#: A panel of 10,000 people is larger than MAX_BODY.
MAX_PEOPLE_BODY = MAX_PEOPLE_BYTES
#: Levels of lists and objects in a body.
MAX_DEPTH = 64
#: No column stores an integer whose absolute value is larger.
MAX_INTEGER = 2**63 - 1

#: Requests that are checked concurrently.
THREADS = 8
#: Maximum number of different tokens that one read looks up.
TOKEN_BATCH_SIZE = 20
#: Bodies up to this size are checked on the event loop: that is faster than a thread. In bytes.
SMALL_BODY = 16 * 1024
#: Timeout of a read of tokens, in seconds. While the store hangs, a request waits for at most two reads.
READ_TIMEOUT_S = 5

Result = TypeVar("Result")

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class TooLarge(ValidationError):
    """The body is over the limit."""


class NotJson(ValidationError):
    """The body is not JSON."""


class CheckedBody(NamedTuple):
    """The body to pass on, and the error of the arguments that were removed from it."""

    body: bytes
    argument_error: UnderstudyError | None
    #: Whether a limit on the workspace's requests may refuse it.
    is_limited: bool = True
    #: Whether the app answers an error in `argument_error`; else it is the answer of the request.
    takes_error: bool = False


#: Checks a body. Raises NotJson, TooLarge, ValidationError.
BodyCheck: TypeAlias = Callable[[bytes], CheckedBody]


class AdmissionMiddleware:
    """ASGI middleware. Puts the token's workspace and role into the request's state as `workspace_id` and `role`.

    `messages` maps further guarded paths outside `/v1` to the check of the bodies posted there. That check's
    `argument_error` goes into the state as `flaw`.
    """

    def __init__(
        self, app: ASGIApp, service: Service, messages: Mapping[str, BodyCheck] = MappingProxyType({})
    ) -> None:
        self._app = app
        self._service = service
        self._messages = messages
        # A pool of its own: checks never wait behind long reads, and queued ones can be abandoned.
        self._threads = ThreadPoolExecutor(THREADS, "admission")
        self._tokens = CoalescedReads(
            self._find_accesses, self._threads, most=TOKEN_BATCH_SIZE, timeout_s=READ_TIMEOUT_S
        )
        self._tickets = CoalescedReads(
            partial(find_tickets, service), self._threads, most=TOKEN_BATCH_SIZE, timeout_s=READ_TIMEOUT_S
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path.startswith("/v1/") or path in self._messages):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        state = scope.setdefault("state", {})
        try:
            if (ticket := take_ticket(scope)) is not None:
                # The endpoint checks the scope; the stream ends with the ticket.
                opened, limits = await self._in_time(self._tickets.find(ticket))
                state["ticket"] = opened
                state["credential"] = Credential(opened.token_id, expires_at=opened.expires_at)
                workspace_id = opened.workspace_id
            else:
                access, limits = await self._access(request)
                workspace_id, state["role"] = access.workspace_id, access.role
                state["credential"] = Credential(access.token_id)
            state["workspace_id"] = workspace_id
            admit = partial(self._service.limits.admit, workspace_id, limits)
            if path not in self._messages and not _is_never_refused(scope["method"], path):
                await admit()
            self._service.limits.observe(workspace_id, limits)
            large = path == "/v1/people" or path in self._messages
            body = await _read(request, MAX_PEOPLE_BODY if large else MAX_BODY)
            # A body with millions of values takes seconds to check and must not block the event loop.
            if path in self._messages and scope["method"] == "POST":
                checked = await self._in_thread(self._messages[path], body)
                body, state["flaw"] = checked.body, await _admission_error(checked, admit)
            elif len(body) > SMALL_BODY:
                await self._in_thread(check_json, body)
            elif body:
                check_json(body)
        except TooLarge as error:
            await error_response(request, error, http_status=413)(scope, receive, send)
        except NotJson as error:
            await error_response(request, error, http_status=400)(scope, receive, send)
        except UnderstudyError as error:
            await error_response(request, error)(scope, receive, send)
        except ClientDisconnect:
            # The client disconnected before it sent the whole body: no answer is possible.
            return
        else:
            await self._call_app(_as_json(scope, body), _replayed(body, receive), send)

    async def _call_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls the app; answers a shutdown error if the grace period ends before the app responds."""
        response_started = False

        async def send_on(message: AsgiMessage) -> None:
            nonlocal response_started
            response_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except asyncio.CancelledError:
            if not response_started:
                await error_response(Request(scope), _shutdown_error())(scope, receive, send)
            raise

    async def _access(self, request: Request) -> tuple[Access, Limits]:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise AuthFailed(
                "A bearer token is required.", suggestions=("Send the header `Authorization: Bearer TOKEN`.",)
            )

        return await self._in_time(self._tokens.find(secret.strip()))

    async def _in_time(self, found: Awaitable[Result]) -> Result:
        try:
            return await found
        except TimeoutError:
            raise ServiceUnavailable("The server is overloaded. Send the same request again in a moment.") from None

    def _find_accesses(self, secrets: Sequence[str]) -> dict[str, tuple[Access, Limits] | Exception]:
        """Returns the access of each token with the limits in force, or the AuthFailed error of an invalid one."""
        found: dict[str, tuple[Access, Limits] | Exception] = {}
        with self._service.store.read() as connection:
            for secret in secrets:
                try:
                    access = find_access(connection, secret)
                except AuthFailed as error:
                    found[secret] = error
                    continue
                found[secret] = access, limits_in_force(self._service.settings, access.workspace)
        return found

    async def _in_thread(self, work: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, work, *args)


#: Paths and methods of the operations that no limit refuses.
_NEVER_REFUSED = [
    (operation.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", operation.path)))
    for operation in OPERATIONS.values()
    if operation.is_never_refused
]


def _is_never_refused(method: str, path: str) -> bool:
    return any(method == known and pattern.fullmatch(path) for known, pattern in _NEVER_REFUSED)


async def _admission_error(checked: CheckedBody, admit: Callable[[], Awaitable[None]]) -> UnderstudyError | None:
    """Counts the request of a message; returns the error that the app has to answer.

    Raises RateLimited for a message that takes no error.
    """
    if not checked.is_limited:
        return checked.argument_error
    try:
        await admit()
    except RateLimited as error:
        if not checked.takes_error:
            raise
        return error
    return checked.argument_error


def _shutdown_error() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The server is shutting down; the request may have been applied.",
        suggestions=("Check if it was applied. You can repeat a dispatch that has an Idempotency-Key.",),
    )


async def _read(request: Request, max_bytes: int) -> bytes:
    too_large = TooLarge(f"The body exceeds the limit of {max_bytes // MIB} MiB.")
    # The server has checked that it is a number. A client that claims too much gets its answer without sending it.
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def check_json(body: bytes) -> None:
    """Raises NotJson, or ValidationError for JSON that the store cannot hold."""
    try:
        value = json.loads(body, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJson(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise ValidationError(_TOO_DEEP) from error
    except ValueError as error:
        # Python refuses to parse an integer of more than about 4,300 digits.
        raise ValidationError(_TOO_LARGE) from error
    _check_value(value, 1)


_TOO_DEEP = f"The body is nested more than {MAX_DEPTH} levels deep."
_TOO_LARGE = "A number in the body is too large."


def _no_constant(name: str) -> None:
    raise NotJson(f"The body is not JSON: {name} is not a JSON number.")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValidationError("The body contains the same field twice. Remove one of them.")
    return value


def _check_value(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValidationError(_TOO_DEEP)
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise ValidationError("A text in the body contains a NUL or a lone surrogate. Remove it.")
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValidationError(_TOO_LARGE)
    elif isinstance(value, float):
        # 1e400 is a valid JSON number, but Python parses it as infinity.
        if math.isinf(value):
            raise ValidationError(_TOO_LARGE)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_value(name, depth)
            _check_value(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_value(item, depth + 1)


def _as_json(scope: Scope, body: bytes) -> Scope:
    """Sets the Content-Type to JSON: every non-empty body was checked as JSON."""
    if not body:
        return scope
    headers = [header for header in scope["headers"] if header[0] != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Returns a `receive` that replays the body, then passes on later messages such as a disconnect."""
    sent = False

    async def replay() -> AsgiMessage:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
