"""Sends one request, and converts its response or its failure."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

import httpx
import pydantic

from understudy.client.server_address import TOKEN_HELP, ServerAddress, is_loopback, server_url
from understudy.domain.errors import (
    ERROR_RULES,
    AuthFailed,
    Conflict,
    ErrorRule,
    NotFound,
    ServiceUnavailable,
    UnderstudyError,
    ValidationError,
)
from understudy.envelopes.errors import ErrorBody
from understudy.envelopes.simulations import RunFailure, RunStudyResponse, RunSuccess
from understudy.operations.requests import MAX_KEY_LENGTH

Model = TypeVar("Model")

#: Maximum seconds to resolve and connect to the server.
CONNECT_TIMEOUT_S = 5.0
#: Seconds that the read timeout adds to the timeout of a wait: the server always answers first.
WAIT_MARGIN_S = 30.0
_DAY_S = 86_400.0

_ERRORS = {kind.code: kind for kind in (ValidationError, AuthFailed, NotFound, Conflict, ServiceUnavailable)}


class UnknownErrorCode(UnderstudyError):
    """An error code without a class in this client; a newer server sent it."""

    def __init__(
        self, message: str, *, code: str, http_status: int, retryable: bool, suggestions: tuple[str, ...]
    ) -> None:
        super().__init__(message, suggestions=suggestions)
        self.code = code
        known = ERROR_RULES.get(code)
        self._rule = known or ErrorRule(http_status, retryable, 5 if retryable else 1)

    @property
    def rule(self) -> ErrorRule:
        return self._rule


class ResponseLost(ServiceUnavailable):
    """The request was sent, but no response arrived. It may have been applied; a retry may apply it twice."""

    @property
    def rule(self) -> ErrorRule:
        return super().rule._replace(retryable=False)


class RawResponse(NamedTuple):
    status: int
    #: The unchanged JSON.
    body: bytes


class Transport:
    """Sends requests to one server. Thread-safe."""

    def __init__(
        self,
        endpoint: ServerAddress,
        *,
        timeout_s: float,
        on_answer: Callable[[bytes], None] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.server = endpoint.server
        self._token = endpoint.token.strip()
        self._timeout_s = timeout_s
        self._on_answer = on_answer
        url = server_url(endpoint.server)
        self._http = httpx.Client(
            base_url=url,
            # uvicorn closes idle connections after 5 s: we close ours first, or a request hits the close.
            limits=httpx.Limits(keepalive_expiry=2.0),
            # Proxies serve other hosts; for a loopback address a proxy would connect to its own host.
            trust_env=not is_loopback(url.host),
            transport=transport,
        )

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        wait_s: float = 0.0,
        is_idempotent: bool = True,
        needs_token: bool = True,
        run_response: bool = False,
        idempotency_key: str | None = None,
    ) -> RawResponse:
        """Sends one request and returns its response. Drops parameters and fields that are None.

        `wait_s`: seconds that the server waits before it answers. `is_idempotent`: a repetition has no effect
        (an `idempotency_key` implies it). `run_response`: returns a failed RunStudyResponse, raises nothing.
        Raises the error of the error body, or ServiceUnavailable if no response arrived.
        """
        is_idempotent = is_idempotent or idempotency_key is not None
        request = self._request(
            method, path, params, body, wait_s, needs_token=needs_token, idempotency_key=idempotency_key
        )
        with self._translate_errors(is_idempotent=is_idempotent):
            response = self._http.send(request)
        if response.is_success or (run_response and _is_run_response(response.content)):
            if self._on_answer is not None:
                self._on_answer(response.content)
            return RawResponse(response.status_code, response.content)
        raise self._failure(response, is_idempotent=is_idempotent)

    @contextmanager
    def stream(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str], *, read_timeout_s: float
    ) -> Iterator[httpx.Response]:
        """Yields a streamed response; `read_timeout_s` without data ends it with ServiceUnavailable.

        Raises the errors of `call`, also while the block reads the response.
        """
        request = self._request("GET", path, params, None, 0, needs_token=True, idempotency_key=None)
        # Each stream has its own connection. If another thread closes the client during the connect, the pool
        # would keep a shared connection for the next request and never close it.
        request.headers.update({**headers, "Accept": "text/event-stream", "Connection": "close"})
        request.extensions["timeout"]["read"] = read_timeout_s
        with self._translate_errors(is_idempotent=True):
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise self._failure(response, is_idempotent=True)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise self.unexpected_response("is no event stream")
                yield response
            finally:
                response.close()

    @contextmanager
    def _translate_errors(self, *, is_idempotent: bool) -> Iterator[None]:
        """Raises each httpx error in the block as an UnderstudyError."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._unreachable(error) from error
        except httpx.TransportError as error:
            raise self._lost(error, is_idempotent=is_idempotent) from error
        except httpx.HTTPError as error:
            raise self.unexpected_response(f"cannot be read ({_cause(error)})") from error

    def get(
        self,
        model: type[Model],
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        needs_token: bool = True,
    ) -> Model:
        answer = self.call("GET", path, params=params, needs_token=needs_token)
        return cast(Model, self._read(model, answer))

    def post(self, model: type[Model], path: str, body: Mapping[str, Any], *, is_idempotent: bool = False) -> Model:
        return cast(Model, self._read(model, self.call("POST", path, body=body, is_idempotent=is_idempotent)))

    def run(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        wait_s: float | None,
        is_idempotent: bool = False,
        idempotency_key: str | None = None,
    ) -> RunSuccess | RunFailure:
        """Sends a POST and returns its RunStudyResponse, also a failed one."""
        answer = self.call(
            "POST",
            path,
            body=body,
            wait_s=wait_s or 0.0,
            is_idempotent=is_idempotent,
            run_response=True,
            idempotency_key=idempotency_key,
        )
        return cast(RunSuccess | RunFailure, self._read(RunStudyResponse, answer))

    def _read(self, model: Any, answer: RawResponse) -> Any:
        try:
            return _adapter(model).validate_json(answer.body)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            raise self.unexpected_response(f"does not match the schema ({where}: {first['msg']})") from error

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        wait_s: float,
        *,
        needs_token: bool,
        idempotency_key: str | None,
    ) -> httpx.Request:
        if needs_token and not self._token:
            raise AuthFailed("no token: this call needs one", suggestions=TOKEN_HELP)
        if not (self._token.isascii() and self._token.isprintable()):
            raise AuthFailed("the token must have only printable ASCII characters", suggestions=TOKEN_HELP)
        headers = {"Accept": "application/json"}
        if needs_token:
            headers["Authorization"] = f"Bearer {self._token}"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = _checked_key(idempotency_key)
        content = None
        try:
            if body is not None:
                content = json.dumps(_drop_none(body), allow_nan=False)
                headers["Content-Type"] = "application/json"
            return self._http.build_request(
                method,
                path,
                params=_drop_none(params or {}),
                content=content,
                headers=headers,
                timeout=httpx.Timeout(self._read_timeout_s(wait_s), connect=CONNECT_TIMEOUT_S),
            )
        except (ValueError, TypeError) as error:
            raise ValidationError(f"the request cannot be written as JSON: {error}") from error

    def _read_timeout_s(self, wait_s: float) -> float:
        # The server validates the wait; sockets accept no timeout of many years.
        return self._timeout_s + (min(wait_s, _DAY_S) + WAIT_MARGIN_S if wait_s > 0 else 0.0)

    def _failure(self, response: httpx.Response, *, is_idempotent: bool) -> UnderstudyError:
        try:
            body = ErrorBody.model_validate_json(response.content)
        except pydantic.ValidationError:
            # A proxy or another program answered.
            answer = f"HTTP {response.status_code} without an Understudy error body"
            if response.status_code in {502, 504} and not is_idempotent:
                # The proxy may have passed the request on and lost the response.
                return _answer_lost(f"{self.server} answered {answer}")
            if response.status_code in {502, 503, 504}:
                return ServiceUnavailable(f"{self.server} answered {answer}", suggestions=("Try again in a moment.",))
            return self.unexpected_response(f"is {answer}")
        suggestions = tuple(body.suggestions)
        if body.error_code == UnderstudyError.code:
            return UnderstudyError(body.error, suggestions=suggestions)
        if kind := _ERRORS.get(body.error_code):
            return kind(body.error, suggestions=suggestions)
        return UnknownErrorCode(
            body.error,
            code=body.error_code,
            http_status=response.status_code,
            retryable=body.retryable,
            suggestions=suggestions,
        )

    def unexpected_response(self, problem: str) -> UnderstudyError:
        """Returns the error for a response that no Understudy server sends."""
        return UnderstudyError(
            f"the answer of {self.server} {problem}",
            suggestions=("Check that this is an Understudy server of the same version as the client.",),
        )

    def _unreachable(self, error: httpx.HTTPError) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"cannot reach an Understudy server at {self.server} ({_cause(error)})",
            suggestions=(
                "Start one with `understudy up`.",
                "Or name a running one with --server URL or UNDERSTUDY_SERVER.",
            ),
        )

    def _lost(self, error: httpx.HTTPError, *, is_idempotent: bool) -> ServiceUnavailable:
        message = f"{self.server} did not answer the request ({_cause(error)})"
        if is_idempotent:
            hint = "Repeat the call; runs continue while a worker is alive."
            return ServiceUnavailable(message, suggestions=(hint,))
        return _answer_lost(message)


def _answer_lost(message: str) -> ResponseLost:
    return ResponseLost(
        f"{message}: the request may have been applied",
        suggestions=("Before you repeat it, check GET /v1/studies and GET /v1/participants.",),
    )


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


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__


def _is_run_response(body: bytes) -> bool:
    try:
        content = json.loads(body)
    except ValueError:
        return False
    return isinstance(content, dict) and "ok" in content
