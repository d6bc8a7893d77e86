"""The settings that an operator may give a workspace, each in place of the default of the installation.

A setting is one row of `WORKSPACE_SETTINGS`: it makes the option of `understudy workspace set`, the line of `show`
and the row of the documentation. Its name is that of a column of the table `workspace`.
"""

from typing import NamedTuple

from understudy.domain.errors import ValidationError

#: A limit of 0 in the store or in a setting: no limit.
NO_LIMIT = 0
#: The largest figure that a column holds.
MAX_FIGURE = 2**63 - 1
_MAX_SMALL_FIGURE = 2**31 - 1
#: A hundred years: the store's clock minus them is still a time.
MAX_RETENTION_DAYS = 36_500


class WorkspaceSetting(NamedTuple):
    """One setting of a workspace. The installation's default is the setting `workspace_NAME`."""

    name: str
    #: Its description for help and documentation.
    description: str
    max_figure: int = _MAX_SMALL_FIGURE
    #: Whether the figure is a whole number; else any positive number.
    is_whole: bool = True
    #: Whether there may be no limit, and its value in words.
    is_limit: bool = True
    no_limit: str = "unlimited"

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def default_setting(self) -> str:
        """Returns the name of the setting with the installation's default."""
        return f"workspace_{self.name}"

    def parse(self, text: str) -> float | None:
        """Returns the value that `text` names: None for `default`. Raises ValidationError."""
        if text == "default":
            return None
        if text == self.no_limit and self.is_limit:
            return NO_LIMIT
        number = text.replace(",", "").replace("_", "")
        try:
            figure = int(number) if self.is_whole else float(number)
        except ValueError:
            figure = 0
        if not (number.isascii() and 0 < figure <= self.max_figure):
            least, kind = ("1", "a whole number") if self.is_whole else ("above 0", "a number")
            words = f"`{self.no_limit}` or `default`" if self.is_limit else "`default`"
            raise ValidationError(
                f"{self.option} must be {kind} from {least} to {self.max_figure:,}, {words}; got {text[:40]!r}."
            )
        return figure


WORKSPACE_SETTINGS = (
    WorkspaceSetting(
        "weight", "Share of the slots, compared with other workspaces", 1_000, is_whole=False, is_limit=False
    ),
    WorkspaceSetting("max_running", "Participants that run at once; more of them wait"),
    WorkspaceSetting("requests_per_minute", "Requests a minute, over all API processes"),
    WorkspaceSetting("event_streams", "Open event streams, over all API processes"),
    WorkspaceSetting("waits", "Calls that wait at the same time, over all API processes"),
    WorkspaceSetting("participants_per_day", "New participants a day (UTC)"),
    WorkspaceSetting("model_tokens_per_day", "Model tokens a day (UTC), checked when a run starts", MAX_FIGURE),
    WorkspaceSetting("stored_bytes", "Bytes of interactions, events and checkpoints", MAX_FIGURE),
    WorkspaceSetting(
        "retention_days",
        "Days after their end on which participants are deleted; `none` keeps them",
        MAX_RETENTION_DAYS,
        no_limit="none",
    ),
)
