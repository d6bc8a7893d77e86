"""Minds: who decides. Each is a plug-in of entry-point group `understudy.minds`."""

from typing import Protocol

from understudy.domain.simulation import Decision, Turn


class Mind(Protocol):
    """Decides for any person in any environment. Built as `factory()`, shared by all runs of a process."""

    async def decide(self, turn: Turn) -> Decision:
        """The next action. Keeps nothing between calls: what it will remember goes into `Decision.memory`."""
