"""The protocol of environments: plug-ins of group `understudy.environments.<modality>`."""

from typing import Protocol

from understudy.domain.simulation import Action, Json, Observation


class EnvironmentUnreachable(Exception):
    """The environment cannot be reached or opened. The participant fails with `environment_error`."""


class Environment(Protocol):
    """Serves one participant on one event loop.

    Built as `factory(content, allow_private_hosts=bool)` with the content of the iteration; the bool says whether all
    private addresses may be visited. A factory with `takes_addresses = True` gets the option `addresses` also, the
    operator's AllowedAddresses; with `takes_person = True` it gets `person`, the Person.

    A call may be cancelled at any await. It must not block the event loop, which hundreds of participants share.
    """

    async def open(self) -> None:
        """Opens the environment for a new participant. Raises EnvironmentUnreachable."""

    async def restore(self, snapshot: Json) -> None:
        """Restores the state of `snapshot` without repeating earlier actions."""

    def observe(self) -> Observation:
        """Returns the current observation, without NUL and lone surrogates, bounded in size."""

    async def act(self, action: Action) -> None:
        """Performs the action. Problems appear in the next `observe()`; they are not raised."""

    def snapshot(self) -> Json:
        """Returns the state that `restore` needs, as JSON, bounded in size."""

    async def close(self) -> None:
        """Closes all resources. Safe to call twice."""
