"""The errors a caller can meet: one small tree, and one table from code to HTTP status and exit code.

Source: contract section 7. `str(error)` says what is wrong and what would be right.
"""

from typing import NamedTuple


class ErrorRule(NamedTuple):
    http_status: int
    retryable: bool
    exit_code: int


ERROR_RULES: dict[str, ErrorRule] = {
    "validation_error": ErrorRule(422, False, 2),
    "auth_failed": ErrorRule(401, False, 3),
    "not_found": ErrorRule(404, False, 4),
    "conflict": ErrorRule(409, False, 1),
    "service_unavailable": ErrorRule(503, True, 5),
    "server_error": ErrorRule(500, True, 5),
    # 202: nobody's retry logic may dispatch twice.
    "wait_timeout": ErrorRule(202, False, 5),
}


class UnderstudyError(Exception):
    """Base of everything that is answered with an error body."""

    code = "server_error"

    def __init__(self, message: str, *, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.suggestions = suggestions

    @property
    def rule(self) -> ErrorRule:
        return ERROR_RULES[self.code]

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def text(self) -> str:
        """`[code] message`, the form used inside envelopes and by tools."""
        return f"[{self.code}] {self}"


class ValidationError(UnderstudyError):
    """The request cannot mean anything; nothing was changed."""

    code = "validation_error"


class AuthFailed(UnderstudyError):
    """No token, or one that is unknown or revoked."""

    code = "auth_failed"


class NotFound(UnderstudyError):
    """Unknown, or another workspace's: the same words for both."""

    code = "not_found"


class Conflict(UnderstudyError):
    """The request is fine but contradicts what is stored."""

    code = "conflict"


class ServiceUnavailable(UnderstudyError):
    """The store does not answer; the same request may be sent again."""

    code = "service_unavailable"
