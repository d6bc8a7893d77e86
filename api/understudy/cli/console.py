"""What the commands have in common: their options, the connection, output, and how they end."""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, NoReturn, ParamSpec

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text
from typer.core import TyperGroup
from typer.exceptions import TyperException

from understudy.cli.render import error_view, plain
from understudy.domain.errors import ERROR_RULES, UnderstudyError, ValidationError

if TYPE_CHECKING:
    from understudy.client import Understudy
    from understudy.envelopes.simulations import RunFailure, RunSuccess

Parameters = ParamSpec("Parameters")

_PANEL = "Connection and output"
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "as_json": (
        Annotated[
            bool,
            typer.Option(
                "--json", metavar="", help="Print the API's answer, and nothing else.", rich_help_panel=_PANEL
            ),
        ],
        False,
    ),
    "server": (
        Annotated[
            str | None,
            typer.Option(
                metavar="URL",
                help="Else $UNDERSTUDY_SERVER, else what `understudy up` wrote into the data folder.",
                show_default="http://127.0.0.1:8000",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "token": (
        Annotated[
            str | None,
            typer.Option(
                metavar="TOKEN",
                help="Else $UNDERSTUDY_TOKEN, else the one in the data folder.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
    "data_dir": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="FOLDER",
                help="The folder of `understudy up`. Else $UNDERSTUDY_DATA_DIR.",
                show_default="./.understudy",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
}

#: What a shell reports of a program that was ended by SIGINT and SIGPIPE.
_INTERRUPTED = 130
_PIPE_CLOSED = 141
#: Columns of tables that are not read on a terminal.
_FILE_WIDTH = 120


class CommandContext:
    """One command at work: whom it talks to and how it tells what came out."""

    def __init__(
        self,
        *,
        as_json: bool,
        server: str | None,
        token: str | None,
        data_dir: Path | None,
    ) -> None:
        self.as_json = as_json
        #: The command with which to go on after Ctrl-C.
        self.resume_command = ""
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)
        self._server, self._token, self._data_dir = server, token, data_dir
        self._answer = b""

    @functools.cached_property
    def client(self) -> "Understudy":
        # Here and not above: `--help` must not pay for HTTP and models.
        from understudy.client import Understudy  # noqa: PLC0415
        from understudy.client.server_address import find_server_address  # noqa: PLC0415

        found = find_server_address(self._server, self._token, self._data_dir)
        return Understudy(found.server, found.token, on_answer=self._keep)

    @property
    def names_server(self) -> bool:
        """Was a server named on the command line?"""
        return self._server is not None

    def close(self) -> None:
        # Only if it was ever made.
        if "client" in self.__dict__:
            self.client.close()

    def _keep(self, body: bytes) -> None:
        self._answer = body

    @property
    def answer(self) -> Any:
        """The latest answer as plain JSON data."""
        return json.loads(self._answer)

    def show(self, *views: RenderableType) -> None:
        """Print the views; with --json the latest answer instead, exactly as it came."""
        if self.as_json:
            self._write(self._answer)
        else:
            self._print(views)

    def show_data(self, data: object, *views: RenderableType) -> None:
        """As `show`, for what was put together from several answers."""
        if self.as_json:
            self._write(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
        else:
            self._print(views)

    def print_line(self, text: str) -> None:
        """One line of a stream, at once."""
        self._write(text.encode())

    def show_run(self, response: "RunSuccess | RunFailure", *views: RenderableType) -> None:
        """As `show`; leaves with the exit code of a response that is not ok."""
        self.show(*views)
        if not response.ok:
            rule = ERROR_RULES.get(response.error_code)
            raise typer.Exit(rule.exit_code if rule else 5 if response.retryable else 1)

    def more(self, next_cursor: str | None, command: str) -> list[RenderableType]:
        """A line on how to see the rest of a list, if there is more."""
        if next_cursor is None:
            return []
        return [plain(f"More: understudy {command} --cursor {next_cursor}", "dim")]

    def waiting(self, text: str, *, shown: bool = True) -> AbstractContextManager[object]:
        """Something that moves while nothing happens; only on a terminal."""
        if not shown or self.as_json or not self.out.is_terminal:
            return nullcontext()
        return self.out.status(plain(text))

    def print_error(self, error: UnderstudyError) -> None:
        """An error on stderr: as text, or with --json as the error body."""
        print_error_body(error, as_json=self.as_json, err=self.err)

    def _print(self, views: Sequence[RenderableType]) -> None:
        for view in views:
            if isinstance(view, Group):
                self._print(view.renderables)
            else:
                # Lines are left to the terminal to wrap: a command that we broke could not be copied.
                self.out.print(view, soft_wrap=isinstance(view, Text))

    def _write(self, body: bytes) -> None:
        rest = memoryview(body.rstrip(b"\n") + b"\n")
        # Unbuffered, as in many containers, a pipe takes a part at a time.
        while rest:
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.buffer.flush()


def server_command(function: Callable[Concatenate[CommandContext, Parameters], None]) -> Callable[..., None]:
    """Makes a command of `function`: adds the common options and gives it a Session for them.

    UnderstudyError ends it with the code's exit status, Ctrl-C with 130 and a word on how to go on.
    """

    @functools.wraps(function)
    def command(
        *args: Any,
        **values: Any,
    ) -> None:
        session = CommandContext(**{name: values.pop(name) for name in _OPTIONS})
        try:
            function(session, *args, **values)
        except UnderstudyError as error:
            session.print_error(error)
            raise typer.Exit(error.rule.exit_code) from error
        except KeyboardInterrupt:
            if session.resume_command:
                session.err.print(
                    f"\nNothing was cancelled. Go on with: {session.resume_command}", highlight=False
                )
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            _exit_on_closed_pipe()
        finally:
            session.close()

    own = list(inspect.signature(function).parameters.values())[1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    command.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    return command


class Commands(TyperGroup):
    """The command's root: what typer finds wrong is told like every other error, with exit code 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        given = sys.argv[1:] if args is None else args
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        except TyperException as error:
            code = self._refuse(error, as_json="--json" in given)
        except UnderstudyError as error:
            print_error_body(error, as_json="--json" in given, err=_console(stderr=True))
            code = error.rule.exit_code
        except ModuleNotFoundError as error:
            missing = _not_installed(error)
            print_error_body(missing, as_json="--json" in given, err=_console(stderr=True))
            code = missing.rule.exit_code
        except BrokenPipeError:
            _exit_on_closed_pipe()
        if not standalone_mode:
            return code
        sys.exit(code)

    @staticmethod
    def _refuse(error: TyperException, *, as_json: bool) -> int:
        context = getattr(error, "ctx", None)
        message = error.format_message()
        if not message:
            # No arguments at all: typer has shown the help.
            return 2
        help_of = (f"See `{context.command_path} --help`.",) if context else ()
        print_error_body(
            ValidationError(message, suggestions=help_of), as_json=as_json, err=_console(stderr=True)
        )
        return error.exit_code


def _not_installed(error: ModuleNotFoundError) -> UnderstudyError:
    """What to install for a command whose part of Understudy is not here; raises what is another error."""
    package = (error.name or "").partition(".")[0]
    if not package or package == "understudy":
        raise error
    return ValidationError(
        f"this command needs the extra `server` ({package} is missing): pip install 'understudy[server]'"
    )


def print_error_body(error: UnderstudyError, *, as_json: bool, err: Console) -> None:
    if as_json:
        body = {
            "error": str(error),
            "error_code": error.code,
            "retryable": error.rule.retryable,
            "suggestions": list(error.suggestions),
        }
        sys.stderr.write(json.dumps(body, ensure_ascii=False) + "\n")
    else:
        err.print(error_view(error), soft_wrap=True)


class _Output(Console):
    def on_broken_pipe(self) -> None:
        _exit_on_closed_pipe()


def _console(*, stderr: bool) -> Console:
    console = _Output(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_WIDTH
    return console


def _exit_on_closed_pipe() -> NoReturn:
    # Whoever read our output has gone; the interpreter must not fail once more when it flushes.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(_PIPE_CLOSED)
