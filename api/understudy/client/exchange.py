"""The parts of a call that both clients share: writes the request, reads the response, converts the failure."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import httpx
import pydantic

from understudy.client.errors import connection_error, failure, unexpected_response
from understudy.client.prepared_call import PreparedCall
from understudy.client.server_address import TOKEN_HELP, ServerAddress, server_url
from understudy.domain.addresses import is_loopback
from understudy.domain.errors import AuthFailed, UnderstudyError, ValidationError
from understudy.operations.requests import MAX_KEY_LENGTH

#: Maximum seconds to resolve and connect to the server.
CONNECT_TIMEOUT_S = 5.0
#: Seconds that the read timeout adds to the timeout of a wait: the server always answers first.
WAIT_MARGIN_S = 30.0
_DAY_S = 86_400.0


class RawResponse(NamedTuple):
    status: int
    #: The unchanged JSON.
    body: bytes


class Exchange:
    """The requests and responses of one server; sends nothing."""

    def __init__(
        self, address: ServerAddress, *, timeout_s: float, on_answer: Callable[[bytes], None] | None = None
    ) -> None:
        self.server = address.server
        self._token = address.token.strip()
        self._timeout_s = timeout_s
        self._on_answer = on_answer
        self._url = server_url(address.server)

    def http_options(self) -> dict[str, Any]:
        """Returns the options of an httpx client for this server."""
        return {
            "base_url": self._url,
            # A proxy or load balancer may close idle connections early: we close ours first, or a request is lost.
            "limits": httpx.Limits(keepalive_expiry=2.0),
            # Proxies serve other hosts; for a loopback address a proxy would connect to its own host.
            "trust_env": not is_loopback(self._url.host),
        }

    def request(self, http: httpx.Client | httpx.AsyncClient, call: PreparedCall) -> httpx.Request:
        """Returns the request of `call`. Raises AuthFailed, ValidationError."""
        headers = {"Accept": "application/json"}
        if call.needs_token:
            headers["Authorization"] = f"Bearer {self._checked_token()}"
        if call.idempotency_key is not None:
            headers["Idempotency-Key"] = _checked_key(call.idempotency_key)
        content = None
        try:
            if call.body is not None:
                content = json.dumps(_drop_none(call.body), allow_nan=False)
                headers["Content-Type"] = "application/json"
            return http.build_request(
                call.method,
                call.path,
                params=_drop_none(call.params or {}),
                content=content,
                headers=headers,
                timeout=httpx.Timeout(self._read_timeout_s(call.wait_s), connect=CONNECT_TIMEOUT_S),
            )
        except (ValueError, TypeError) as error:
            raise ValidationError(f"the request cannot be written as JSON: {error}") from error

    def stream_request(
        self, http: httpx.Client | httpx.AsyncClient, call: PreparedCall, headers: Mapping[str, str], timeout_s: float
    ) -> httpx.Request:
        """Returns a request for an event stream that ends after `timeout_s` without data."""
        request = self.request(http, call)
        # Each stream has its own connection. If another thread closes the client during the connect, the pool
        # would keep a shared connection for the next request and never close it.
        request.headers.update({**headers, "Accept": "text/event-stream", "Connection": "close"})
        request.extensions["timeout"]["read"] = timeout_s
        return request

    def response(self, call: PreparedCall, response: httpx.Response, *, may_retry: bool = False) -> RawResponse:
        """Returns the answer of `call`. Raises the error of its error body.

        A failed RunStudyResponse is an answer, unless it is retryable and the call may be sent again.
        """
        is_answer = call.run_response and _is_run_response(response.content, without_retryable=may_retry)
        if response.is_success or is_answer:
            if self._on_answer is not None:
                self._on_answer(response.content)
            return RawResponse(response.status_code, response.content)
        raise failure(self.server, response, is_repeatable=call.is_repeatable)

    def check_stream(self, response: httpx.Response) -> None:
        """Raises the error of a response that is no event stream; its content is read."""
        if not response.is_success:
            raise failure(self.server, response, is_repeatable=True)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise self.unexpected_response("is no event stream")

    @contextmanager
    def translated(self, call: PreparedCall) -> Iterator[None]:
        """Raises each httpx error in the block as an UnderstudyError."""
        try:
            yield
        except httpx.HTTPError as error:
            raise connection_error(self.server, error, is_repeatable=call.is_repeatable) from error

    def read(self, model: Any, answer: RawResponse) -> Any:
        """Returns the answer as an instance of `model`."""
        try:
            return _adapter(model).validate_json(answer.body)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            raise self.unexpected_response(f"does not match the schema ({where}: {first['msg']})") from error

    def unexpected_response(self, problem: str) -> UnderstudyError:
        return unexpected_response(self.server, problem)

    def _checked_token(self) -> str:
        if not self._token:
            raise AuthFailed("no token: this call needs one", suggestions=TOKEN_HELP)
        if not (self._token.isascii() and self._token.isprintable()):
            raise AuthFailed("the token must have only printable ASCII characters", suggestions=TOKEN_HELP)
        return self._token

    def _read_timeout_s(self, wait_s: float) -> float:
        # The server validates the wait; sockets accept no timeout of many years.
        return self._timeout_s + (min(wait_s, _DAY_S) + WAIT_MARGIN_S if wait_s > 0 else 0.0)


@cache
def _adapter(model: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(model)


def _drop_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _checked_key(key: str) -> str:
    # HTTP headers cannot transport other characters.
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable() and key == key.strip()):
        raise ValidationError(
            f"idempotency_key must have 1 to {MAX_KEY_LENGTH} printable ASCII characters, and no space at either end"
        )
    return key


def _is_run_response(body: bytes, *, without_retryable: bool) -> bool:
    try:
        content = json.loads(body)
    except ValueError:
        return False
    return isinstance(content, dict) and "ok" in content and not (without_retryable and content.get("retryable"))
