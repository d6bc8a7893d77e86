"""Reads a command's settings from environment variables and command-line options."""

from typing import TYPE_CHECKING, Any

from understudy.cli.terminal import write_line
from understudy.deploy.owner_only_files import narrow_data_folder
from understudy.domain.errors import ValidationError

if TYPE_CHECKING:
    from understudy.settings import Settings


def read_settings(options: dict[str, Any]) -> "Settings":
    """Returns the settings; `options` override variables. ValidationError names each wrong setting."""
    import pydantic  # noqa: PLC0415

    from understudy.settings import Settings  # noqa: PLC0415

    try:
        settings = Settings(**options)
    except pydantic.ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}" for problem in error.errors()
        )
        raise ValidationError(
            f"invalid settings: {wrong}", suggestions=("Correct the UNDERSTUDY_… variables or the options.",)
        ) from error
    if narrowed := narrow_data_folder(settings.data_dir):
        write_line(
            f"understudy: {narrowed} had been open to other users; now only the owner can read them", stderr=True
        )
    return settings
