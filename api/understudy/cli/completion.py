"""The command `completion`: prints the script that completes commands in a shell."""

from typing import Annotated, Literal

import typer

from understudy.cli.terminal import write_line


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion script of a shell.

    Load it in the shell's start file, such as eval "$(understudy completion bash)".
    With fish: understudy completion fish | source.
    """
    # The script asks this program through a variable that typer reads.
    from typer._completion_shared import get_completion_script  # noqa: PLC0415

    write_line(get_completion_script(prog_name="understudy", complete_var="_UNDERSTUDY_COMPLETE", shell=shell))
