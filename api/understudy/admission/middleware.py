"""What every request to `/v1` and `/mcp` passes before anybody sees it: token, size, and strict JSON."""

import asyncio
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from understudy.admission.errors import error_response
from understudy.domain.errors import AuthFailed, ServiceUnavailable, UnderstudyError, ValidationError
from understudy.service import Service
from understudy.service.coalesced_reads import CoalescedReads
from understudy.store.workspaces import authenticate

MIB = 1024 * 1024
MAX_BODY = MIB
#: A panel of ten thousand people takes more.
MAX_PEOPLE_BODY = 16 * MIB
#: Levels of lists and objects in a body.
MAX_DEPTH = 64
#: Whole numbers beyond this on either side are kept by no column, and are no float either.
MAX_INTEGER = 2**63 - 1

#: Requests that are looked at at a time.
THREADS = 8
#: Different tokens that one read looks up.
TOKEN_BATCH_SIZE = 20
#: Bodies up to this size are looked at sooner than a thread would be told of them, in bytes.
SMALL_BODY = 16 * 1024
#: So long a read of tokens may take; a request waits for two at most, while the store hangs.
READ_TIMEOUT_S = 5

Result = TypeVar("Result")

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class TooLarge(ValidationError):
    """The body is over the limit."""


class NotJson(ValidationError):
    """The body is not JSON."""


class CheckedBody(NamedTuple):
    """A body to be read on, and what was wrong with a part of it that is left out."""

    body: bytes
    argument_error: ValidationError | None


#: Looks at a body. Raises NotJson, TooLarge, ValidationError.
BodyCheck: TypeAlias = Callable[[bytes], CheckedBody]


class AdmissionMiddleware:
    """ASGI middleware. Puts the token's workspace into the request's state as `workspace_id`.

    `messages`: paths outside of `/v1` that it guards too, and what looks at the bodies posted there; a flaw
    is put into the state as `argument_error`.
    """

    def __init__(
        self, app: ASGIApp, service: Service, messages: Mapping[str, BodyCheck] = MappingProxyType({})
    ) -> None:
        self._app = app
        self._service = service
        self._messages = messages
        # Of its own: what waits for its turn here can be given up, and does not wait behind long reads.
        self._threads = ThreadPoolExecutor(THREADS, "gate")
        self._tokens = CoalescedReads(
            self._find_workspaces, self._threads, most=TOKEN_BATCH_SIZE, timeout_s=READ_TIMEOUT_S
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path.startswith("/v1/") or path in self._messages):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        state = scope.setdefault("state", {})
        try:
            state["workspace_id"] = await self._workspace(request)
            large = path == "/v1/people" or path in self._messages
            body = await _read(request, MAX_PEOPLE_BODY if large else MAX_BODY)
            # Millions of values take seconds; others are not to wait for that.
            if path in self._messages and scope["method"] == "POST":
                body, state["flaw"] = await self._in_thread(self._messages[path], body)
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
            # It went away before it had said all; there is nobody to answer.
            return
        else:
            await self._call_app(_as_json(scope, body), _replayed(body, receive), send)

    async def _call_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app's answer; ours when the server is told to go and has no patience left for it."""
        begun = False

        async def send_on(message: AsgiMessage) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except asyncio.CancelledError:
            if not begun:
                await error_response(Request(scope), _shutdown_error())(scope, receive, send)
            raise

    async def _workspace(self, request: Request) -> UUID:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise AuthFailed(
                "A bearer token is needed.", suggestions=("Send the header `Authorization: Bearer TOKEN`.",)
            )

        try:
            return await self._tokens.find(secret.strip())
        except TimeoutError:
            raise ServiceUnavailable(
                "The server is overloaded. Send the same request again in a moment."
            ) from None

    def _find_workspaces(self, secrets: Sequence[str]) -> dict[str, UUID | Exception]:
        """The workspaces that these tokens open, or why one opens none."""
        opened: dict[str, UUID | Exception] = {}
        with self._service.store.read() as connection:
            for secret in secrets:
                try:
                    opened[secret] = authenticate(connection, secret)
                except AuthFailed as error:
                    opened[secret] = error
        return opened

    async def _in_thread(self, work: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, copy_context().run, work, *args
        )


def _shutdown_error() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The server is shutting down; the request may have been applied.",
        suggestions=("Look first what is there; with an Idempotency-Key a dispatch can be sent again.",),
    )


async def _read(request: Request, max_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise TooLarge(f"The body is over the limit of {max_bytes // MIB} MiB.")
        parts.append(part)
    return b"".join(parts)


def check_json(body: bytes) -> None:
    """Raises NotJson, or ValidationError for JSON that no store could keep or no number could be."""
    try:
        value = json.loads(body, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJson(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise ValidationError(_TOO_DEEP) from error
    except ValueError as error:
        # Python reads no number of more than some thousand digits.
        raise ValidationError(_TOO_LARGE) from error
    _check_value(value, 1)


_TOO_DEEP = f"The body is nested more than {MAX_DEPTH} levels deep."
_TOO_LARGE = "A number in the body is too large."


def _no_constant(name: str) -> None:
    raise NotJson(f"The body is not JSON: {name} is not a JSON number.")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValidationError("A field in the body is given twice.")
    return value


def _check_value(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValidationError(_TOO_DEEP)
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise ValidationError("A text in the body has a NUL or a lone surrogate; leave it out.")
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValidationError(_TOO_LARGE)
    elif isinstance(value, float):
        # 1e400 is a JSON number, and infinite once it is read.
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
    """A body is JSON whatever its Content-Type says: there is nothing else it could be."""
    if not body:
        return scope
    headers = [header for header in scope["headers"] if header[0] != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever else comes: a disconnect, for instance."""
    sent = False

    async def replay() -> AsgiMessage:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
