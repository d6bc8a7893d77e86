"""The only place that writes to stdout and stderr.

Names, thoughts, page titles and errors come from websites and other people. On a terminal their control characters are
shown as escapes and never obeyed. A file or a pipe gets the exact bytes.
"""

import json
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import NoReturn, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from understudy.cli.streams import discard_output
from understudy.domain.unprintable import escape_json, escape_text

#: Exit code that a shell reports for a program ended by SIGPIPE.
_PIPE_CLOSED = 141
#: Table width in columns if the output is no terminal.
_FILE_WIDTH = 120


class _Output(Console):
    """A console that obeys only the control sequences that it makes itself."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_text(segment.text))

    def on_broken_pipe(self) -> None:
        exit_on_closed_pipe()


def make_console(*, stderr: bool = False) -> Console:
    """Returns a console for views. It takes texts as they are: without markup, emoji codes and highlights."""
    console = _Output(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_WIDTH
    return console


def write_answer(body: bytes, *, is_json: bool) -> None:
    """Writes bytes that a program may read, and a line break, to stdout."""
    line = body.rstrip(b"\n") + b"\n"
    if sys.stdout.isatty():
        text = line.decode(errors="replace")
        _write(sys.stdout, escape_json(text) if is_json else escape_text(text))
        return
    remaining = memoryview(line)
    # If stdout is unbuffered, as in many containers, a pipe accepts only a part per write.
    while remaining:
        remaining = remaining[sys.stdout.buffer.write(remaining) :]
    sys.stdout.buffer.flush()


def write_line(text: str, *, stderr: bool = False) -> None:
    """Writes one message."""
    stream = sys.stderr if stderr else sys.stdout
    _write(stream, (escape_text(text) if stream.isatty() else text) + "\n")


def write_json(value: object, *, stderr: bool = False) -> None:
    """Writes a value as one line of JSON."""
    stream = sys.stderr if stderr else sys.stdout
    # Escaped where the terminal could not show it: a replaced character would change the JSON.
    is_utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not is_utf8)
    _write(stream, (escape_json(text) if stream.isatty() else text) + "\n")


def confirm(question: str) -> bool:
    """Asks on stderr; returns whether the answer is yes."""
    return typer.confirm(escape_text(question), err=True)


def report_crashes() -> None:
    """Makes errors that nothing expects print on stderr without control characters. Repeatable."""
    sys.excepthook = _report_crash
    threading.excepthook = _report_crash_of_a_thread


def exit_on_closed_pipe() -> NoReturn:
    # The reader closed the pipe; the interpreter must not fail again when it flushes.
    discard_output()
    sys.exit(_PIPE_CLOSED)


def _report_crash(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    write_line("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), stderr=True)


def _report_crash_of_a_thread(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_type is not SystemExit:
        _report_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
