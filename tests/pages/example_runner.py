"""Runs the examples of a page in order and compares their answers with the page."""

import asyncio
import contextlib
import importlib
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

from tests.mcp_client import call, connect_stdio, run_with_client
from tests.pages.answer_matcher import IdBindings
from tests.pages.blocks import DRAWN, EXPECTED, Block, read_blocks, read_commands
from tests.pages.live_stack import LiveStack
from understudy.domain.errors import ERROR_RULES

_ERROR = re.compile(r"\[(\w+)\] ")
_TARGET = re.compile(r"^([a-z-]+):.*## ", re.MULTILINE)


async def _tools_over_stdio(caller: Any) -> Any:
    async with connect_stdio(caller) as client:
        return await client.list_tools()


class ExampleRunner:
    """Runs one page. `files` are the modules of its `python NAME.py` blocks, by NAME."""

    def __init__(self, stack: LiveStack, page: Path) -> None:
        self._stack = stack
        self._page = page
        self._ids = IdBindings()
        self._answer: Any = None
        self._status: int | None = None
        self._exit_code = 0
        self._printed = ""
        self._names: dict[str, Any] = {"__name__": "page"}
        self.files: dict[str, ModuleType] = {}

    def run(self) -> None:
        """Raises AssertionError naming the line of the block that does not do what the page says."""
        how: dict[str, Callable[[Block], None]] = {
            "console": self._console,
            "http": self._http,
            "mcp": self._mcp,
            "python": self._python,
            "json": self._json,
            "output": self._output,
        }
        for block in read_blocks(self._page):
            if block.kind in DRAWN:
                continue
            try:
                if block.kind in EXPECTED and block.words != ("mcp",):
                    assert block.follows, "what is above it answers nothing"
                how[block.kind](block)
            except Exception as problem:
                raise AssertionError(f"{self._page}:{block.line}: {problem}") from problem

    # -- console -------------------------------------------------------------------------------------------

    def _console(self, block: Block) -> None:
        for command, printed in read_commands(block):
            self._run(command, printed)

    def _run(self, command: str, expected: str) -> None:
        words = shlex.split(command)
        if words[0] == "make":
            targets = _TARGET.findall((Path(__file__).parents[2] / "Makefile").read_text())
            assert words[1] in targets, f"no make {words[1]}"
            if words[1] != "up":
                return
            words, command = ["understudy", "up"], "understudy up"
        if self._stack.starts(words):
            if expected:
                self._ids.compare_text(expected, self._stack.said(words))
            return
        script = f"(exit {self._exit_code}); {self._stack.real(self._ids.put_in(command))}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=self._stack.folder,
            env=self._stack.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        out = self._stack.shown(done.stdout)
        self._exit_code = done.returncode
        error = _ERROR.match(expected)
        fails = ERROR_RULES[error[1]].exit_code if error else 0
        if "--json" in words and not expected:
            # A json block below shows it.
            self._answer, self._status = json.loads(out), None
            return
        assert done.returncode == fails, f"exit code {done.returncode} of {command}:\n{out}"
        self._answer, self._status = None, None
        self._ids.compare_text(expected, out, command)

    # -- HTTP ----------------------------------------------------------------------------------------------

    def _http(self, block: Block) -> None:
        head, _, body = self._stack.real(self._ids.put_in(block.text)).partition("\n\n")
        first, *headers = head.splitlines()
        method, path = first.split(" ", 1)
        response = httpx.request(
            method,
            self._stack.api + path.strip(),
            headers={"Authorization": f"Bearer {self._stack.secret}"}
            | dict(header.split(": ", 1) for header in headers),
            content=body.strip() or None,
            timeout=100,
            trust_env=False,
        )
        self._status = response.status_code
        self._printed = self._stack.shown(response.text)
        is_json = response.headers["content-type"].startswith("application/json")
        self._answer = json.loads(self._printed) if is_json else None

    # -- MCP -----------------------------------------------------------------------------------------------

    def _mcp(self, block: Block) -> None:
        tool, _, arguments = self._stack.real(self._ids.put_in(block.text)).partition("\n")
        result = call(self._stack, tool, **json.loads(arguments))
        self._status, self._answer = None, None
        if result.structured_content is not None:
            self._answer = json.loads(self._stack.shown(json.dumps(result.structured_content)))
        self._printed = "\n".join(content.text for content in result.content)

    def _mcp_setting(self, setting: Any) -> None:
        """What stands in a client's file of settings opens the server."""
        ((_, server),) = setting["mcpServers"].items()
        if "command" in server:
            assert (server["command"], server["args"]) == ("understudy", ["mcp"])
            assert server["env"].keys() == {"UNDERSTUDY_SERVER", "UNDERSTUDY_TOKEN"}
            assert self._stack.real(server["env"]["UNDERSTUDY_SERVER"]) == self._stack.api
            assert asyncio.run(_tools_over_stdio(self._stack)).tools
            return
        assert server["type"] == "http"
        assert self._stack.real(server["url"]) == f"{self._stack.api}/mcp"
        assert server["headers"] == {"Authorization": "Bearer TOKEN"}
        assert run_with_client(self._stack, lambda client: client.list_tools()).tools

    # -- answers -------------------------------------------------------------------------------------------

    def _json(self, block: Block) -> None:
        if block.words == ("mcp",):
            self._mcp_setting(json.loads(block.text))
            return
        assert self._answer is not None, "the block above answers no JSON"
        if block.words:
            assert str(self._status) == block.words[0], f"status {self._status}: {self._answer}"
        self._ids.compare(json.loads(block.text), self._answer)

    # -- Python --------------------------------------------------------------------------------------------

    def _python(self, block: Block) -> None:
        source = self._stack.real(self._ids.put_in(block.text))
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.chdir(self._stack.folder):
            if block.words:
                self._save(block.words[0], source)
            else:
                # Errors name the page and its line.
                exec(compile("\n" * block.line + source, str(self._page), "exec"), self._names)
        self._printed = self._stack.shown(out.getvalue())
        self._status, self._answer = None, None
        with contextlib.suppress(ValueError):
            self._answer = json.loads(self._printed)

    def _save(self, name: str, source: str) -> None:
        (self._stack.folder / name).write_text(source)
        module = Path(name).stem
        sys.path.insert(0, str(self._stack.folder))
        try:
            self.files[module] = importlib.import_module(module)
        finally:
            sys.path.pop(0)

    def _output(self, block: Block) -> None:
        self._ids.compare_text(block.text, self._printed)
