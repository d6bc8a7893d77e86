"""An environment and a mind that do what the iteration's content says. Found by entry points, as any plug-in.

Content: `delay_s` each act takes (waiting, abortable), `log` a file to which each act's fate is appended,
`words` of what "raise" raises, and `at`: page number -> what happens there: "give_up", "finish", "raise",
"garbage", "unreachable", "swallow", "unstorable", "infinite", "hang" (an await that never ends), "stubborn"
(one that no cancellation ends); "block" keeps the loop, "hold" the interpreter, "leak" the memory, "die"
kills the process; "status 10e400" shows a status that is no number; and in the mind: "mind raises", "mind babbles",
"mind hangs", and decisions that no store accepts, as `ScriptedMind._unstorable` lists them.
"""

import asyncio
import math
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from understudy.domain.simulation import Action, Decision, Element, Observation, Turn, Usage
from understudy.environments import EnvironmentUnreachable

#: How long "block" keeps the loop.
BLOCK_S = 600.0

_leaked: list[bytes] = []


class ScriptedEnvironment:
    def __init__(self, content: dict[str, Any], *, allow_private_hosts: bool) -> None:
        self._delay_s = content.get("delay_s", 0)
        self._log = content.get("log")
        self._at = content.get("at", {})
        self._words = content.get("words", "the environment broke\x00")
        self._page = 0
        self._visited: list[int] = []

    def _happening(self) -> str:
        return str(self._at.get(str(self._page), ""))

    async def open(self) -> None:
        if self._happening() == "unreachable":
            raise EnvironmentUnreachable("nothing answers there")
        self._note("open")

    async def restore(self, snapshot: dict[str, Any]) -> None:
        self._page = snapshot["page"]
        self._visited = list(snapshot["visited"])
        self._note("restore")

    def observe(self) -> Observation:
        if self._happening() == "garbage":
            return "not an observation"  # type: ignore[return-value]
        return Observation(
            url=f"scripted://page/{self._page}",
            title=f"Page {self._page}",
            status=10**400 if self._happening() == "status 10e400" else None,
            text=f"You are on page {self._page}. {self._happening()}",
            elements=(Element(1, "link", "Next", href=f"scripted://page/{self._page + 1}"),),
        )

    async def act(self, action: Action) -> None:
        if self._happening() == "raise":
            raise RuntimeError(self._words)
        self._note("act")
        self._misbehave(self._happening())
        try:
            if self._happening() == "swallow":
                await self._sleep_through(self._delay_s)
            if self._happening() == "hang":
                await asyncio.Event().wait()
            while self._happening() == "stubborn":
                await self._sleep_through(3600)
            await asyncio.sleep(self._delay_s)
        except asyncio.CancelledError:
            self._note("aborted")
            raise
        self._note("acted")
        self._visited.append(self._page)
        self._page += 1

    def _misbehave(self, how: str) -> None:
        if how == "block":
            time.sleep(BLOCK_S)
        elif how == "hold":
            # The matcher goes back and forth for years, and lets no other thread run meanwhile.
            re.match("(a+)+$", "a" * 60 + "b")
        elif how == "leak":
            _leaked.append(b"x" * 200 * 2**20)
        elif how == "die":
            os.kill(os.getpid(), signal.SIGKILL)

    async def _sleep_through(self, delay_s: float) -> None:
        try:
            await asyncio.sleep(delay_s)
        except asyncio.CancelledError:
            self._note("swallowed")

    def snapshot(self) -> dict[str, Any]:
        if self._happening() == "unstorable":
            return {"page": object()}
        if self._happening() == "infinite":
            return {"page": math.inf}
        return {"page": self._page, "visited": self._visited}

    async def close(self) -> None:
        pass

    def _note(self, what: str) -> None:
        if self._log:
            with Path(self._log).open("a") as log:
                log.write(f"{what} {self._page} {time.time()}\n")


class ScriptedMind:
    def _unstorable(self, turn: Turn) -> Decision | None:
        deep: list[Any] = []
        for _ in range(2_000):
            deep = [deep]
        follow = Action("follow", 1, "Next")
        rating = Action("answer", value={"ratings": {"A": float("1e999")}})
        decisions = {
            "mind remembers nan": Decision("Hm.", follow, 0.0, {"seen": [1, math.nan]}),
            "mind remembers depth": Decision("Hm.", follow, 0.0, {"deep": deep}),
            "mind says 1e999": Decision("Hm.", rating, 0.0),
            "mind thinks nothing": Decision(None, follow, 0.0),  # type: ignore[arg-type]
            "mind used nan": Decision("Hm.", follow, 0.0, {}, Usage(1, 2, 3, math.nan)),
        }
        return next((decision for name, decision in decisions.items() if name in turn.observation.text), None)

    async def decide(self, turn: Turn) -> Decision:
        if "mind raises" in turn.observation.text:
            raise LookupError("no idea")
        if "mind babbles" in turn.observation.text:
            return {"thought": "hm"}  # type: ignore[return-value]
        if "mind hangs" in turn.observation.text:
            await asyncio.Event().wait()
        if (what := self._unstorable(turn)) is not None:
            return what
        for kind in ("give_up", "finish"):
            if kind in turn.observation.text:
                return Decision("That is it.", Action(kind), 0.0, turn.memory)
        thought = f"Told: {turn.instruction}" if turn.instruction else "On I go."
        memory = {"steps": turn.memory.get("steps", 0) + 1, "resumed": turn.resumed}
        return Decision(thought, Action("follow", 1, "Next"), 0.5, memory)
