"""Decides whether a failed call is sent again, and when."""

import random
from uuid import uuid4

from understudy.client.prepared_call import PreparedCall
from understudy.domain.errors import UnderstudyError
from understudy.operations.registry import OPERATIONS

#: Pause in seconds before the first retry; each further pause is twice as long, at most MAX_PAUSE_S.
FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 10.0


class Retries:
    """The retries of a client; `most` is 0 unless the program asks for them."""

    def __init__(self, most: int) -> None:
        self._most = most

    def key_for(self, operation: str, key: str | None) -> str | None:
        """Returns the caller's key, or a new one if the call may be retried: then it starts only once."""
        if key is None and self._most and OPERATIONS[operation].starts:
            return uuid4().hex
        return key

    def remain(self, call: PreparedCall, failures: int) -> bool:
        """Returns whether this call may be sent again after one more failure."""
        return failures < self._most and call.is_repeatable

    def pause_s(self, call: PreparedCall, error: UnderstudyError, failures: int) -> float | None:
        """Returns the seconds until the next attempt after so many failures; None if there is none.

        It is never less than the server's `Retry-After`.
        """
        if not error.rule.retryable or not self.remain(call, failures - 1):
            return None
        # Different clients come back at different times.
        longest_s = min(FIRST_PAUSE_S * 2.0 ** (failures - 1), MAX_PAUSE_S)
        return error.retry_after_s + longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
