"""The errors of a call: those that the server answers, and those of the connection."""

import time
from email.utils import parsedate_to_datetime

import httpx
import pydantic

from understudy.domain.errors import (
    ERROR_RULES,
    AuthFailed,
    Conflict,
    ErrorRule,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServiceUnavailable,
    UnderstudyError,
    UsageLimitReached,
    ValidationError,
)
from understudy.envelopes.errors import ErrorBody
from understudy.envelopes.simulations import RunFailure

_ERRORS: dict[str, type[UnderstudyError]] = {
    kind.code: kind
    for kind in (
        *(ValidationError, AuthFailed, PermissionDenied, NotFound, Conflict),
        *(UsageLimitReached, RateLimited, ServiceUnavailable),
    )
}
_TOO_MANY_REQUESTS = ERROR_RULES[RateLimited.code].http_status
#: A `Retry-After` with more digits is no number of seconds.
_MAX_DIGITS = 6


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


def failure(server: str, response: httpx.Response, *, is_repeatable: bool) -> UnderstudyError:
    """Returns the error that a response without success reports, with its `Retry-After`."""
    error = _failure(server, response, is_repeatable=is_repeatable)
    error.retry_after_s = _retry_after_s(response)
    return error


def _retry_after_s(response: httpx.Response) -> float:
    """Returns the seconds that `Retry-After` asks for, as a number or as a date; 0 without a valid one."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) <= _MAX_DIGITS else 0.0
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return 0.0


def _failure(server: str, response: httpx.Response, *, is_repeatable: bool) -> UnderstudyError:
    try:
        body = ErrorBody.model_validate_json(response.content)
    except pydantic.ValidationError:
        # A proxy or another program answered.
        answer = f"HTTP {response.status_code} without an Understudy error body"
        if response.status_code in {502, 504} and not is_repeatable:
            # The proxy may have passed the request on and lost the response.
            return _response_lost(f"{server} answered {answer}")
        if response.status_code == _TOO_MANY_REQUESTS:
            # A proxy has a limit of its own.
            return RateLimited(f"{server} answered {answer}", suggestions=("Try again in a moment.",))
        if response.status_code in {502, 503, 504}:
            return ServiceUnavailable(f"{server} answered {answer}", suggestions=("Try again in a moment.",))
        return unexpected_response(server, f"is {answer}")
    return _error_of(body, response.status_code)


def to_error(run: RunFailure) -> UnderstudyError:
    """Returns the exception that says the same as the answer of a failed start or wait, for a program to raise."""
    return _error_of(run, ERROR_RULES[UnderstudyError.code].http_status)


def _error_of(body: ErrorBody | RunFailure, http_status: int) -> UnderstudyError:
    """Returns the error of a body; `http_status` is that of a code that this client does not know."""
    suggestions = tuple(body.suggestions)
    if body.error_code == UnderstudyError.code:
        return UnderstudyError(body.error, suggestions=suggestions)
    if kind := _ERRORS.get(body.error_code):
        return kind(body.error, suggestions=suggestions)
    return UnknownErrorCode(
        body.error,
        code=body.error_code,
        http_status=http_status,
        retryable=body.retryable,
        suggestions=suggestions,
    )


def unexpected_response(server: str, problem: str) -> UnderstudyError:
    """Returns the error for a response that no Understudy server sends."""
    return UnderstudyError(
        f"the answer of {server} {problem}",
        suggestions=("Check that this is an Understudy server of the same version as the client.",),
    )


def connection_error(server: str, error: httpx.HTTPError, *, is_repeatable: bool) -> UnderstudyError:
    """Returns the error for a request that got no response."""
    cause = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return ServiceUnavailable(
            f"cannot reach an Understudy server at {server} ({cause})",
            suggestions=(
                "Start one with `understudy up`.",
                "Or name a running one with --server URL or UNDERSTUDY_SERVER.",
            ),
        )
    if not isinstance(error, httpx.TransportError):
        return unexpected_response(server, f"cannot be read ({cause})")
    message = f"{server} did not answer the request ({cause})"
    if not is_repeatable:
        return _response_lost(message)
    return ServiceUnavailable(message, suggestions=("Repeat the call; runs continue while a worker is alive.",))


def _response_lost(message: str) -> ResponseLost:
    return ResponseLost(
        f"{message}: the request may have been applied",
        suggestions=("Before you repeat it, check GET /v1/studies and GET /v1/participants.",),
    )
