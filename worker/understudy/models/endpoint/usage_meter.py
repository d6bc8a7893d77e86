"""Usage meter: the calls and seconds of an answer, and the quota that each call waits for."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Protocol

from understudy.plugins.time_limits import current_timer


class Quota(Protocol):
    """Limits concurrent calls and tokens. `understudy.models.quotas` implements it for all workers."""

    def place(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Waits for a slot for one call. Raises ModelFailed if the tokens are used up."""

    async def spent(self, tokens: int) -> None:
        """Records `tokens` as used."""


class UsageMeter:
    """Counts the calls of one answer, and its time without the waits for a slot."""

    def __init__(self, gate: Quota) -> None:
        self.gate = gate
        self.calls = 0
        self._began = time.monotonic()
        self._waited_s = 0.0

    def seconds(self) -> float:
        """Returns the seconds so far, without waits for a slot."""
        return round(time.monotonic() - self._began - self._waited_s, 3)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Holds a slot for one call. The wait counts neither as step time nor as answer time."""
        began = time.monotonic()
        with contextlib.ExitStack() as waiting:
            waiting.enter_context(current_timer().paused())
            async with self.gate.place():
                self._waited_s += time.monotonic() - began
                waiting.close()
                self.calls += 1
                yield
