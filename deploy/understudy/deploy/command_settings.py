"""Reads a command's settings from environment variables and command-line options."""

from typing import TYPE_CHECKING, Any

from understudy.domain.errors import ValidationError

if TYPE_CHECKING:
    from understudy.settings import Settings


def read_settings(options: dict[str, Any]) -> "Settings":
    """Returns the settings; `options` override variables. ValidationError names each wrong setting."""
    import pydantic  # noqa: PLC0415

    from understudy.settings import Settings  # noqa: PLC0415

    try:
        return Settings(**options)
    except pydantic.ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}" for problem in error.errors()
        )
        raise ValidationError(
            f"invalid settings: {wrong}", suggestions=("Correct the UNDERSTUDY_… variables or the options.",)
        ) from error
