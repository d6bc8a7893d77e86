"""Errors for callers: one small tree, and one table from code to HTTP status and exit code.

Source: contract section 7. `str(error)` says what is wrong, and what to do.
"""

from typing import NamedTuple


class ErrorRule(NamedTuple):
    http_status: int
    retryable: bool
    exit_code: int


ERROR_RULES: dict[str, ErrorRule] = {
    "validation_error": ErrorRule(422, False, 2),
    "auth_failed": ErrorRule(401, False, 3),
    "permission_denied": ErrorRule(403, False, 3),
    "not_found": ErrorRule(404, False, 4),
    "conflict": ErrorRule(409, False, 1),
    "usage_limit_reached": ErrorRule(403, False, 1),
    "rate_limited": ErrorRule(429, True, 5),
    "service_unavailable": ErrorRule(503, True, 5),
    "server_error": ErrorRule(500, True, 5),
    # 202, so that no client's retry logic dispatches twice.
    "wait_timeout": ErrorRule(202, False, 5),
}


class UnderstudyError(Exception):
    """Base of all errors with an error body."""

    code = "server_error"
    #: Seconds after which the caller may send the same request again, if the server says so.
    retry_after_s: float = 0.0

    def __init__(self, message: str, *, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.suggestions = suggestions

    @property
    def rule(self) -> ErrorRule:
        return ERROR_RULES[self.code]

    @property
    def http_status(self) -> int:
        """Returns the HTTP status of the error's code."""
        return self.rule.http_status

    @property
    def retryable(self) -> bool:
        """Returns whether the same call may succeed if it is made again."""
        return self.rule.retryable

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def text(self) -> str:
        """Returns `[code] message`, the form in envelopes and tools."""
        return f"[{self.code}] {self}"


class ValidationError(UnderstudyError):
    """The request is invalid; nothing was changed."""

    code = "validation_error"


class AuthFailed(UnderstudyError):
    """The token is missing, unknown or revoked."""

    code = "auth_failed"


class PermissionDenied(UnderstudyError):
    """The token is valid, but its role does not allow this."""

    code = "permission_denied"


class NotFound(UnderstudyError):
    """The object is unknown, or of another workspace: both have the same wording."""

    code = "not_found"


class Conflict(UnderstudyError):
    """The request is valid but contradicts the stored state."""

    code = "conflict"


class UsageLimitReached(UnderstudyError):
    """The workspace has used up a quota; the text names the quota, its figure, the use and when it frees."""

    code = "usage_limit_reached"


class RateLimited(UnderstudyError):
    """The workspace makes too many requests, or has too many waits or event streams open; nothing was done.

    The caller may send the same request again after `retry_after_s` seconds.
    """

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message, suggestions=suggestions)
        self.retry_after_s = retry_after_s


class ServiceUnavailable(UnderstudyError):
    """The store is unavailable; the caller may send the same request again."""

    code = "service_unavailable"
