"""An environment and a mind that do nothing, so that what is measured is everything else.

Content: `wait_s`, how long each act waits; 0 for not at all. `log`, a file in which acts note when they begin
and when they are cut, by the clock that processes of one machine share.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

from understudy.domain.simulation import Action, Decision, Observation, Turn

_SEEN = Observation(url="noop://page", title="A page", text="There is nothing to do here.")
_ON = Decision("On I go.", Action("follow", 1, "Next"), 0.5)


class NoopEnvironment:
    def __init__(self, content: dict[str, Any], *, allow_private_hosts: bool) -> None:
        self._wait_s = content.get("wait_s", 0)
        self._log = content.get("log")

    async def open(self) -> None:
        pass

    async def restore(self, snapshot: dict[str, Any]) -> None:
        pass

    def observe(self) -> Observation:
        return _SEEN

    async def act(self, action: Action) -> None:
        if not self._wait_s:
            return
        self._note("begun")
        try:
            await asyncio.sleep(self._wait_s)
        except asyncio.CancelledError:
            self._note("cut")
            raise

    def _note(self, what: str) -> None:
        if self._log:
            now = time.monotonic()
            with Path(self._log).open("a") as log:
                log.write(f"{what} {now}\n")

    def snapshot(self) -> dict[str, Any]:
        return {"page": 1}

    async def close(self) -> None:
        pass


class NoopMind:
    async def decide(self, turn: Turn) -> Decision:
        return _ON
