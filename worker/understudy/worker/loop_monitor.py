"""The pulse of an asyncio loop, felt from another thread."""

import asyncio
import time
from typing import Any


class Pulse:
    """Does the loop get round, and if not, which task keeps it?

    A loop with much to do gets round slowly, but one task after the other; a loop that is stuck stays in one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._felt = True
        self._since = time.monotonic()
        #: The task that the loop was in at the last look.
        self.task: asyncio.Task[Any] | None = None

    def look(self) -> float:
        """Seconds for which the loop has been in one and the same task; 0 while it gets round.

        To be asked again and again, by one thread other than the loop's.
        """
        task = asyncio.current_task(self._loop)
        felt, moved = self._felt, task is not self.task
        self.task = task
        if felt or moved:
            self._since = time.monotonic()
        if felt:
            self._felt = False
            self._loop.call_soon_threadsafe(self._feel)
        return time.monotonic() - self._since

    def _feel(self) -> None:
        self._felt = True
