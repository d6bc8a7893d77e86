"""Language models: where they are, how they are asked, and how much may be asked of them."""

from understudy.domain.simulation import Usage


class ModelFailed(Exception):
    """No decision is to be had of the model. The text says why, and what would be right; never a key.

    `usage` is what was spent on it all the same.
    """

    def __init__(self, message: str, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage
