"""The protocol of minds: plug-ins that decide, of entry-point group `understudy.minds`."""

from typing import Protocol

from understudy.domain.simulation import Decision, Turn


class Mind(Protocol):
    """Decides for any person in any environment. Built as `factory()`, shared by all runs of a process."""

    async def decide(self, turn: Turn) -> Decision:
        """Returns the next action. Keeps no state between calls: memory goes into `Decision.memory`."""
