"""Common parts of all commands: options, connection, output and exit codes."""

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from understudy.cli.render import error_view, plain
from understudy.cli.terminal import exit_on_closed_pipe, make_console, write_answer, write_json
from understudy.domain.errors import ERROR_RULES, UnderstudyError

if TYPE_CHECKING:
    from understudy.client import Understudy
    from understudy.client.server_address import ServerAddress
    from understudy.envelopes.simulations import RunFailure, RunSuccess

Parameters = ParamSpec("Parameters")

_PANEL = "Connection and output"
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "as_json": (
        Annotated[
            bool,
            typer.Option("--json", metavar="", help="Print the API response and nothing else.", rich_help_panel=_PANEL),
        ],
        False,
    ),
    "server": (
        Annotated[
            str | None,
            typer.Option(
                metavar="URL",
                help="Server to call. Without it: $UNDERSTUDY_SERVER, then the address in the data folder.",
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
                help="Token to send. Without it: $UNDERSTUDY_TOKEN, then the token in the data folder.",
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
                help="Data folder of `understudy up`. Without it: $UNDERSTUDY_DATA_DIR, then the default.",
                show_default="./.understudy",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
}

#: Exit code that a shell reports for a program ended by SIGINT.
_INTERRUPTED = 130


class CommandContext:
    """The connection and the output of one running command."""

    def __init__(self, *, as_json: bool, server: str | None, token: str | None, data_dir: Path | None) -> None:
        self.as_json = as_json
        #: The command that continues after Ctrl-C.
        self.resume_command = ""
        self.out = make_console(stderr=False)
        self.err = make_console(stderr=True)
        self._server, self._token, self._data_dir = server, token, data_dir
        self._answer = b""

    @functools.cached_property
    def address(self) -> "ServerAddress":
        from understudy.client.server_address import find_server_address  # noqa: PLC0415

        return find_server_address(self._server, self._token, self._data_dir)

    @functools.cached_property
    def client(self) -> "Understudy":
        # Imported here to keep HTTP and models out of `--help`.
        from understudy.client import Understudy  # noqa: PLC0415

        return Understudy(self.address.server, self.address.token, on_answer=self._store_answer)

    @property
    def names_server(self) -> bool:
        """Returns True if the command line names a server."""
        return self._server is not None

    def close(self) -> None:
        # The property creates the client at first use.
        if "client" in self.__dict__:
            self.client.close()

    def _store_answer(self, body: bytes) -> None:
        self._answer = body

    @property
    def answer(self) -> Any:
        """Returns the latest response as plain JSON data."""
        return json.loads(self._answer)

    def keep_part(self, name: str) -> None:
        """Makes one field of the latest response the response to show."""
        self._answer = json.dumps(self.answer[name], ensure_ascii=False, separators=(",", ":")).encode()

    def show(self, *views: RenderableType) -> None:
        """Prints the views; with --json prints the latest response unchanged instead."""
        if self.as_json:
            write_answer(self._answer, is_json=True)
        else:
            self.print_views(views)

    def show_data(self, data: object, *views: RenderableType) -> None:
        """Like `show`, for data merged from several responses."""
        if self.as_json:
            write_answer(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(), is_json=True)
        else:
            self.print_views(views)

    def print_text(self, text: str, *, is_json: bool) -> None:
        """Prints what a program may read, such as one event of a stream."""
        write_answer(text.encode(), is_json=is_json)

    def show_run(self, response: "RunSuccess | RunFailure", *views: RenderableType) -> None:
        """Like `show`; if the response is not ok, exits with its exit code."""
        self.show(*views)
        if not response.ok:
            rule = ERROR_RULES.get(response.error_code)
            raise typer.Exit(rule.exit_code if rule else 5 if response.retryable else 1)

    def next_page_hint(self, next_cursor: str | None, command: str) -> list[RenderableType]:
        """Returns a line with the command for the next page; empty on the last page."""
        if next_cursor is None:
            return []
        return [plain(f"Next page: understudy {command} --cursor {next_cursor}", "dim")]

    def waiting(self, text: str, *, shown: bool = True) -> AbstractContextManager[object]:
        """Shows a spinner during the block, only on a terminal."""
        if not shown or self.as_json or not self.out.is_terminal:
            return nullcontext()
        return self.out.status(plain(text))

    def print_error(self, error: UnderstudyError) -> None:
        """Prints an error on stderr as text, or with --json as the error body."""
        print_error_body(error, as_json=self.as_json, err=self.err)

    def print_views(self, views: Sequence[RenderableType]) -> None:
        """Prints the views on stdout."""
        for view in views:
            if isinstance(view, Group):
                self.print_views(view.renderables)
            else:
                # The terminal wraps lines: users cannot copy a command that we break.
                self.out.print(view, soft_wrap=isinstance(view, Text))


def server_command(function: Callable[Concatenate[CommandContext, Parameters], None]) -> Callable[..., None]:
    """Returns `function` as a command: adds the common options and passes a CommandContext.

    UnderstudyError exits with the exit code of its error code. Ctrl-C exits with 130 and a hint.
    """

    @functools.wraps(function)
    def command(*args: Any, **values: Any) -> None:
        session = CommandContext(**{name: values.pop(name) for name in _OPTIONS})
        try:
            function(session, *args, **values)
        except UnderstudyError as error:
            session.print_error(error)
            raise typer.Exit(error.rule.exit_code) from error
        except KeyboardInterrupt:
            if session.resume_command:
                session.err.print(f"\nNothing was cancelled. Continue with: {session.resume_command}", highlight=False)
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            exit_on_closed_pipe()
        finally:
            session.close()

    own = list(inspect.signature(function).parameters.values())[1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    command.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    return command


def print_error_body(error: UnderstudyError, *, as_json: bool, err: Console) -> None:
    if as_json:
        body = {
            "error": str(error),
            "error_code": error.code,
            "retryable": error.rule.retryable,
            "suggestions": list(error.suggestions),
        }
        write_json(body, stderr=True)
    else:
        err.print(error_view(error), soft_wrap=True)
