"""Environments: what a person acts on. Plug-ins of entry-point group `understudy.environments.<modality>`."""

from typing import Protocol

from understudy.domain.simulation import Action, Json, Observation


class EnvironmentUnreachable(Exception):
    """The place cannot be reached or opened at all: the participant fails with `environment_error`."""


class Environment(Protocol):
    """One person's place to act in, used by one participant, on one event loop.

    Built as `factory(content, allow_private_hosts=bool)`, where `content` is the iteration's. A call may be
    cancelled at any await and must not block the loop: hundreds of others share it.
    """

    async def open(self) -> None:
        """Enter for the first time. Raises EnvironmentUnreachable."""

    async def restore(self, snapshot: Json) -> None:
        """Be where `snapshot()` was taken, without repeating what led there."""

    def observe(self) -> Observation:
        """What is seen now; free of NUL and lone surrogates, bounded in size."""

    async def act(self, action: Action) -> None:
        """Do it. What goes wrong on the way is seen by the next `observe()`, not raised."""

    def snapshot(self) -> Json:
        """All that `restore` needs, as JSON; bounded in size."""

    async def close(self) -> None:
        """Give back what is held. Safe to call twice."""
