"""Objects that belong to one event loop."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class PerLoop(Generic[Kept]):
    """Keeps one object for each event loop, built at its first use. A process has few loops: none is forgotten."""

    def __init__(self, build: Callable[[], Kept]) -> None:
        self._build = build
        self._kept: dict[asyncio.AbstractEventLoop, Kept] = {}

    def get(self) -> Kept:
        """Returns the object of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._kept:
            self._kept[loop] = self._build()
        return self._kept[loop]
