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
                _figure(defaults[one.default_setting].default, one.no_limit if one.is_limit else None),
                one.description,
            )
            for one in WORKSPACE_SETTINGS
        ],
    )


def _figure(value: float, no_limit: str | None) -> str:
    return f"0 ({no_limit})" if no_limit and value == NO_LIMIT else f"{value:,}"
