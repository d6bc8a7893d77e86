"""Language models: profiles, prompts, endpoints and quotas."""

from understudy.domain.simulation import Usage


class ModelFailed(Exception):
    """The model gives no decision. The message says why and what to do; it never contains a key.

    `usage` is what the failed attempt used, or None.
    """

    def __init__(self, message: str, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage
