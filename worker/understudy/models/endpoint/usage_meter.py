"""Tally: what an answer takes, and the gate that each call goes through."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Protocol

from understudy.plugins.time_limits import current_timer


class Quota(Protocol):
    """Who may ask now. `understudy.models.quotas` has the one for a fleet."""

    def place(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Wait for a place among those who ask at a time. Raises ModelFailed when the tokens are used up."""

    async def spent(self, tokens: int) -> None:
        """So many tokens were used."""


class UsageMeter:
    """What an answer takes: calls, and time without the waits at the gate."""

    def __init__(self, gate: Quota) -> None:
        self.gate = gate
        self.calls = 0
        self._began = time.monotonic()
        self._waited_s = 0.0

    def seconds(self) -> float:
        """So far."""
        return round(time.monotonic() - self._began - self._waited_s, 3)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place for one call. Neither the step's time nor ours runs while we wait for it."""
        began = time.monotonic()
        with contextlib.ExitStack() as waiting:
            waiting.enter_context(current_timer().paused())
            async with self.gate.place():
                self._waited_s += time.monotonic() - began
                waiting.close()
                self.calls += 1
                yield
