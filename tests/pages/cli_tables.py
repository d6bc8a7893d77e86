"""Commands and options as Markdown, from what the command line knows of itself."""

from collections.abc import Iterator
from typing import Any

import typer.main

from tests.pages.tables import table
from understudy.deploy.main import app

_COLUMNS = ("option", "default", "meaning")
#: Options of every command that talks to a server.
_COMMON = {"as_json", "server", "token", "data_dir"}


def commands() -> str:
    """A section for each command."""
    return "\n".join(_sections("understudy", typer.main.get_command(app)))


def common_options() -> str:
    """The options that all commands have that talk to a server."""
    command = next(one for one in _leaves(typer.main.get_command(app)) if _talks(one))
    return table(_COLUMNS, [_row(one) for one in command.params if one.name in _COMMON])


def _leaves(command: Any) -> Iterator[Any]:
    if not hasattr(command, "commands"):
        yield command
        return
    for one in command.commands.values():
        yield from _leaves(one)


def _sections(path: str, group: Any) -> Iterator[str]:
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from _sections(f"{path} {name}", one)
        elif not one.hidden:
            yield _section(f"{path} {name}", one)


def _section(path: str, command: Any) -> str:
    own = [one for one in command.params if not (_talks(command) and one.name in _COMMON)]
    arguments = (one for one in own if not one.opts[0].startswith("-"))
    heading = " ".join((path, *(one.metavar if one.required else f"[{one.metavar}]" for one in arguments)))
    paragraphs = (" ".join(part.split()) for part in command.help.split("\n\n"))
    return "\n\n".join((f"### {heading}", *paragraphs, table(_COLUMNS, [_row(one) for one in own])))


def _talks(command: Any) -> bool:
    return {one.name for one in command.params} >= _COMMON


def _row(parameter: Any) -> tuple[str, str, str]:
    return _spelled(parameter), _left_out(parameter), " ".join(parameter.help.split())


def _spelled(parameter: Any) -> str:
    if not parameter.opts[0].startswith("-"):
        return f"`{parameter.metavar}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if getattr(parameter, "is_flag", False):
        return names
    low, high = parameter.min, parameter.max
    value = parameter.metavar or parameter.type_descriptor.annotation.__name__.upper()
    return f"{names} {value}" + (f", {low:g} to {high:g}" if low is not None and high is not None else "")


def _left_out(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    default = parameter.default
    if default is None or default is False or not parameter.show_default:
        return ""
    if default is True:
        return str(parameter.opts[0])
    return f"{default:g}" if isinstance(default, float) else str(default)
