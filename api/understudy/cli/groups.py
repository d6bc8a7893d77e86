"""Groups of commands: names of values in the help, and errors that end a command."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException

from understudy.cli.console import print_error_body
from understudy.cli.streams import accept_every_text, decoded, discard_output, is_device_error
from understudy.cli.terminal import exit_on_closed_pipe, make_console, write_line
from understudy.domain.errors import UnderstudyError, ValidationError


class Commands(TyperGroup):
    """The root command: reports errors of typer like every other error, with exit code 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        accept_every_text()
        arguments = decoded(sys.argv[1:] if args is None else args)
        try:
            code = super().main(arguments, prog_name, complete_var, False, windows_expand_args, **extra)
            sys.stdout.flush()
        except TyperException as error:
            code = self._report_usage_error(error, as_json="--json" in arguments)
        except UnderstudyError as error:
            print_error_body(error, as_json="--json" in arguments, err=make_console(stderr=True))
            code = error.rule.exit_code
        except ModuleNotFoundError as error:
            missing = _not_installed(error)
            print_error_body(missing, as_json="--json" in arguments, err=make_console(stderr=True))
            code = missing.rule.exit_code
        except BrokenPipeError:
            exit_on_closed_pipe()
        except OSError as error:
            if not is_device_error(error):
                raise
            code = self._report_lost_output(error)
        if not standalone_mode:
            return code
        sys.exit(code)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            name_values((*command.params, command.get_help_option(ctx)))
        return command

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        name_values(params)
        return params

    @staticmethod
    def _report_lost_output(error: OSError) -> int:
        """Reports that the output is incomplete; what the command did stays done."""
        discard_output()
        write_line(
            f"understudy: the output is incomplete: {error.strerror}. The command itself was carried out.", stderr=True
        )
        return 1

    @staticmethod
    def _report_usage_error(error: TyperException, *, as_json: bool) -> int:
        context = getattr(error, "ctx", None)
        message = error.format_message()
        if not message:
            # Without arguments, typer has already printed the help.
            return 2
        help_hint = (f"See `{context.command_path} --help`.",) if context else ()
        print_error_body(
            ValidationError(message, suggestions=help_hint), as_json=as_json, err=make_console(stderr=True)
        )
        return error.exit_code


def name_values(params: Iterable[Any]) -> None:
    """Names the values of options in their help where typer would show a type: `N`, not `<int range>`."""
    for param in params:
        if param is None:
            continue
        if param.param_type_name == "argument":
            # Its name stands in the usage line and tells what it is.
            param.display_type_rich = lambda **_: None
        elif param.metavar is not None:
            continue
        elif getattr(param, "is_flag", False):
            param.metavar = ""
        else:
            annotation = param.type_descriptor.annotation
            param.metavar = {int: "N", float: "SECONDS", Path: "FILE"}.get(annotation, "TEXT")


def _not_installed(error: ModuleNotFoundError) -> UnderstudyError:
    """Returns the error with the missing extra to install; re-raises if the module is another one."""
    package = (error.name or "").partition(".")[0]
    if not package or package == "understudy":
        raise error
    extra = "mcp" if package in {"httpx2", "mcp", "mcp_types"} else "server"
    return ValidationError(
        f"this command needs the extra `{extra}` ({package} is missing): run pip install 'understudy[{extra}]'"
    )
