"""One request and its answer: where the server is, who asks, and what an answer that is no answer means."""

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

#: How long finding and reaching the server may take.
CONNECT_TIMEOUT_S = 5.0
#: What a waiting call is given on top of its own timeout, so that the server always answers first.
WAIT_MARGIN_S = 30.0
_DAY_S = 86_400.0

_ERRORS = {kind.code: kind for kind in (ValidationError, AuthFailed, NotFound, Conflict, ServiceUnavailable)}


class UnknownErrorCode(UnderstudyError):
    """An error whose code has no class here, as it comes from a newer server."""

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
    """The request went out, no answer came: it may have been done. Sending it again might do it twice."""

    @property
    def rule(self) -> ErrorRule:
        return super().rule._replace(retryable=False)


class RawResponse(NamedTuple):
    status: int
    #: The JSON exactly as it came.
    body: bytes


class Transport:
    """Carries requests to one server. May be used by several threads at once."""

    def __init__(
        self,
        endpoint: ServerAddress,
        *,
        timeout_s: float,
        on_answer: Callable[[bytes], None] | None = None,
        wire: httpx.BaseTransport | None = None,
    ) -> None:
        self.server = endpoint.server
        self._token = endpoint.token.strip()
        self._timeout_s = timeout_s
        self._on_answer = on_answer
        url = server_url(endpoint.server)
        self._http = httpx.Client(
            base_url=url,
            # uvicorn closes idle connections after 5 s: ours must go before, or a request meets the close.
            limits=httpx.Limits(keepalive_expiry=2.0),
            # Proxies are set up for the world outside; asked for this machine they would look at themselves.
            trust_env=not is_loopback(url.host),
            transport=wire,
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
        """Ask once. Parameters and fields that are None are left out.

        `wait_s`: how long the server was told to wait before it answers. `is_idempotent`: twice is as good as
        once, which an `idempotency_key` sees to. `run_response`: a failure told as a RunStudyResponse is an
        answer, not an error. Raises what the error body says; ServiceUnavailable where none came.
        """
        is_idempotent = is_idempotent or idempotency_key is not None
        request = self._request(
            method, path, params, body, wait_s, needs_token=needs_token, idempotency_key=idempotency_key
        )
        with self._translate_errors(repeatable=is_idempotent):
            response = self._http.send(request)
        told = run_response and _is_run_response(response.content)
        if response.is_success or told:
            if self._on_answer is not None:
                self._on_answer(response.content)
            return RawResponse(response.status_code, response.content)
        raise self._failure(response, repeatable=is_idempotent)

    @contextmanager
    def stream(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str], *, silence_s: float
    ) -> Iterator[httpx.Response]:
        """An answer that is read as it comes; silence for `silence_s` means that the server has gone.

        Raises as `call` does, while it is read, too.
        """
        request = self._request("GET", path, params, None, 0, needs_token=True, idempotency_key=None)
        # A connection for this alone. One that was being made while another thread closed the client would be
        # kept for a next request, and by nobody closed.
        request.headers.update({**headers, "Accept": "text/event-stream", "Connection": "close"})
        request.extensions["timeout"]["read"] = silence_s
        with self._translate_errors(repeatable=True):
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise self._failure(response, repeatable=True)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise self.unexpected_response("is no stream of events")
                yield response
            finally:
                response.close()

    @contextmanager
    def _translate_errors(self, *, repeatable: bool) -> Iterator[None]:
        """What goes wrong on the way there and back, as an error of ours."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._unreachable(error) from error
        except httpx.TransportError as error:
            raise self._lost(error, repeatable=repeatable) from error
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

    def post(
        self, model: type[Model], path: str, body: Mapping[str, Any], *, repeatable: bool = False
    ) -> Model:
        return cast(Model, self._read(model, self.call("POST", path, body=body, is_idempotent=repeatable)))

    def run(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        wait_s: float | None,
        repeatable: bool = False,
        idempotency_key: str | None = None,
    ) -> RunSuccess | RunFailure:
        """POST to what answers a RunStudyResponse; a failure told in that form is returned."""
        answer = self.call(
            "POST",
            path,
            body=body,
            wait_s=wait_s or 0.0,
            is_idempotent=repeatable,
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
            raise self.unexpected_response(f"is not what it should be ({where}: {first['msg']})") from error

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
            raise AuthFailed("a token is needed, and there is none", suggestions=TOKEN_HELP)
        if not (self._token.isascii() and self._token.isprintable()):
            raise AuthFailed("the token has characters that no token has", suggestions=TOKEN_HELP)
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
        # A wait of any length is the server's to judge, but sockets know no centuries.
        return self._timeout_s + (min(wait_s, _DAY_S) + WAIT_MARGIN_S if wait_s > 0 else 0.0)

    def _failure(self, response: httpx.Response, *, repeatable: bool) -> UnderstudyError:
        try:
            told = ErrorBody.model_validate_json(response.content)
        except pydantic.ValidationError:
            # A proxy's page, or something else that listens there.
            what = f"HTTP {response.status_code} without an error body of ours"
            if response.status_code in {502, 504} and not repeatable:
                # The server may well have got it from the proxy that did not get its answer.
                return _answer_lost(f"{self.server} answered {what}")
            if response.status_code in {502, 503, 504}:
                return ServiceUnavailable(
                    f"{self.server} answered {what}", suggestions=("Try again in a moment.",)
                )
            return self.unexpected_response(f"is {what}")
        suggestions = tuple(told.suggestions)
        if told.error_code == UnderstudyError.code:
            return UnderstudyError(told.error, suggestions=suggestions)
        if kind := _ERRORS.get(told.error_code):
            return kind(told.error, suggestions=suggestions)
        return UnknownErrorCode(
            told.error,
            code=told.error_code,
            http_status=response.status_code,
            retryable=told.retryable,
            suggestions=suggestions,
        )

    def unexpected_response(self, what: str) -> UnderstudyError:
        """The error for an answer that no server of ours gives."""
        return UnderstudyError(
            f"the answer of {self.server} {what}",
            suggestions=("Is that an Understudy server, of the same version as this client?",),
        )

    def _unreachable(self, error: httpx.HTTPError) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"cannot reach an Understudy server at {self.server} ({_cause(error)})",
            suggestions=(
                "Start one with `understudy up`.",
                "Or name the one you mean: --server URL or UNDERSTUDY_SERVER.",
            ),
        )

    def _lost(self, error: httpx.HTTPError, *, repeatable: bool) -> ServiceUnavailable:
        message = f"{self.server} took the request and did not answer ({_cause(error)})"
        if repeatable:
            return ServiceUnavailable(
                message, suggestions=("Ask again; runs go on by themselves as long as a worker is there.",)
            )
        return _answer_lost(message)


def _answer_lost(message: str) -> ResponseLost:
    return ResponseLost(
        f"{message}: whether it was done is not known",
        suggestions=("Before asking again, look what is there: GET /v1/studies and /v1/participants.",),
    )


@cache
def _adapter(model: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(model)


def _drop_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _checked_key(key: str) -> str:
    # A header with anything else in it never reaches the server.
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable() and key == key.strip()):
        raise ValidationError(
            f"idempotency_key must have 1 to {MAX_KEY_LENGTH} printable ASCII characters, "
            "and no space at either end"
        )
    return key


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__


def _is_run_response(body: bytes) -> bool:
    try:
        told = json.loads(body)
    except ValueError:
        return False
    return isinstance(told, dict) and "ok" in told
