"""Language models: profiles, prompts, endpoints and quotas."""

from understudy.domain.simulation import Usage


class ModelFailed(Exception):
    """The model gives no decision. The message says why and what to do, for the operator; it never contains a key.

    `told` is the message for callers: it names no address, no other profile and nothing that a server said. `usage` is
    what the failed attempt used, or None.
    """

    def __init__(self, message: str, usage: Usage | None = None, *, told: str = "") -> None:
        super().__init__(message)
        self.usage = usage
        self.told = told or message

    def with_usage(self, usage: Usage | None) -> "ModelFailed":
        """Returns the same failure of an attempt that used `usage`."""
        return ModelFailed(str(self), usage, told=self.told)
