"""The settings of a command: variables, and what was given on the command line."""

from typing import TYPE_CHECKING, Any

from understudy.domain.errors import ValidationError

if TYPE_CHECKING:
    from understudy.settings import Settings


def read_settings(given: dict[str, Any]) -> "Settings":
    """The settings with what was given on the command line; ValidationError names what is wrong with them."""
    import pydantic  # noqa: PLC0415

    from understudy.settings import Settings  # noqa: PLC0415

    try:
        return Settings(**given)
    except pydantic.ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ValidationError(
            f"a setting is wrong: {wrong}", suggestions=("Settings are read from UNDERSTUDY_… variables.",)
        ) from error
