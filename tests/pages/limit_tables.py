"""Limits of workspaces as Markdown, from their definitions and the settings."""

from tests.pages.tables import table
from understudy.domain.workspace_settings import NO_LIMIT, WORKSPACE_SETTINGS
from understudy.settings import Settings


def workspace_limits() -> str:
    """A row for each setting of a workspace, with its default."""
    defaults = Settings.model_fields
    return table(
        ("option of `set`", "variable of the default", "default", "what it bounds"),
        [
            (
                f"`{one.option}`",
                f"`UNDERSTUDY_{one.default_setting.upper()}`",
                _figure(defaults[one.default_setting].default, is_limit=one.is_limit),
                one.description,
            )
            for one in WORKSPACE_SETTINGS
        ],
    )


def _figure(value: float, *, is_limit: bool) -> str:
    return "0 (no limit)" if is_limit and value == NO_LIMIT else f"{value:,}"
