"""Plays a page: runs its examples in order, as a reader would, and compares what they answer."""

import contextlib
import io
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from shared.domain.errors import ERROR_RULES
from tests.pages.blocks import DRAWN, EXPECTED, Block, read_blocks
from tests.pages.likeness import Cast
from tests.pages.stage import Stage

_ERROR = re.compile(r"\[(\w+)\] ")
_TARGET = re.compile(r"^([a-z-]+):.*## ", re.MULTILINE)


class Player:
    """One page at work. `programs` are the names that `python NAME` blocks have defined, by NAME."""

    def __init__(self, stage: Stage, page: Path) -> None:
        self._stage = stage
        self._page = page
        self._cast = Cast()
        self._answer: Any = None
        self._status: int | None = None
        self._exit_code = 0
        self._printed = ""
        self.programs: dict[str, dict[str, Any]] = {}

    def play(self) -> None:
        """Raises AssertionError naming the line of the block that does not do what the page says."""
        how: dict[str, Callable[[Block], None]] = {
            "console": self._console,
            "http": self._http,
            "python": self._python,
            "json": self._json,
            "output": self._output,
        }
        for block in read_blocks(self._page):
            if block.kind in DRAWN:
                continue
            try:
                if block.kind in EXPECTED:
                    assert block.follows, "what is above it answers nothing"
                how[block.kind](block)
            except Exception as problem:
                raise AssertionError(f"{self._page}:{block.line}: {problem}") from problem

    # -- console -------------------------------------------------------------------------------------------

    def _console(self, block: Block) -> None:
        command, printed = "", ""
        for line in [*block.text.splitlines(), "$ "]:
            if command.endswith("\\"):
                command = command[:-1] + line.strip()
            elif line.startswith("$ "):
                if command:
                    self._run(command, printed)
                command, printed = line[2:], ""
            else:
                printed += line + "\n"

    def _run(self, command: str, expected: str) -> None:
        words = shlex.split(command)
        if words[0] == "make":
            targets = _TARGET.findall((Path(__file__).parents[2] / "Makefile").read_text())
            assert words[1] in targets, f"no make {words[1]}"
            if words[1] != "up":
                return
            words, command = ["understudy", "up"], "understudy up"
        if self._stage.starts(words):
            if expected:
                self._cast.compare_text(expected, self._stage.said(words))
            return
        script = f"(exit {self._exit_code}); {self._stage.real(self._cast.put_in(command))}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=self._stage.folder,
            env=self._stage.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        out = self._stage.shown(done.stdout)
        self._exit_code = done.returncode
        error = _ERROR.match(expected)
        fails = ERROR_RULES[error[1]].exit_code if error else 0
        if "--json" in words and not expected:
            # A json block below shows it.
            self._answer, self._status = json.loads(out), None
            return
        assert done.returncode == fails, f"exit code {done.returncode} of {command}:\n{out}"
        self._answer, self._status = None, None
        self._cast.compare_text(expected, out, command)

    # -- HTTP ----------------------------------------------------------------------------------------------

    def _http(self, block: Block) -> None:
        head, _, body = self._stage.real(self._cast.put_in(block.text)).partition("\n\n")
        first, *headers = head.splitlines()
        method, path = first.split(" ", 1)
        response = httpx.request(
            method,
            self._stage.url + path.strip(),
            headers={"Authorization": f"Bearer {self._stage.token}"}
            | dict(header.split(": ", 1) for header in headers),
            content=body.strip() or None,
            timeout=100,
            trust_env=False,
        )
        self._status = response.status_code
        self._answer = json.loads(self._stage.shown(response.text))

    def _json(self, block: Block) -> None:
        assert self._answer is not None, "the block above answers no JSON"
        if block.words:
            assert str(self._status) == block.words[0], f"status {self._status}: {self._answer}"
        self._cast.compare(json.loads(block.text), self._answer)

    # -- Python --------------------------------------------------------------------------------------------

    def _python(self, block: Block) -> None:
        names = self.programs.setdefault(" ".join(block.words), {"__name__": "page"})
        source = self._stage.real(self._cast.put_in(block.text))
        # Errors name the page and its line.
        code = compile("\n" * block.line + source, str(self._page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.chdir(self._stage.folder):
            exec(code, names)
        self._printed = self._stage.shown(out.getvalue())
        self._status = None
        with contextlib.suppress(ValueError):
            self._answer = json.loads(self._printed)

    def _output(self, block: Block) -> None:
        self._cast.compare_text(block.text, self._printed)
