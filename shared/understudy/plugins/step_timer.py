"""Patience: how long a step may still take, not counting what it waited for its turn."""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar


class Patience:
    """Seconds that a step may take. It stands still while the step waits for something that is shared.

    Whoever waits for a place among those who may call a language model is not slow. All methods belong to
    the loop's thread.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._began = time.monotonic()
        self._waited_s = 0.0
        self._waiting_since: float | None = None

    def left_s(self) -> float:
        """Seconds left; below 0 when it is used up."""
        now = self._waiting_since if self._waiting_since is not None else time.monotonic()
        return self._limit_s - (now - self._began - self._waited_s)

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """What happens in the block does not count. Not to be nested."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waited_s += time.monotonic() - self._waiting_since
            self._waiting_since = None


_current: ContextVar[Patience | None] = ContextVar("patience", default=None)


def begin(limit_s: float) -> Patience:
    """For the step that is started next, in this context."""
    patience = Patience(limit_s)
    _current.set(patience)
    return patience


def current() -> Patience:
    """Of the step that the code at hand works for; without one, a day's."""
    return _current.get() or Patience(86_400)
