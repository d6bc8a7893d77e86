"""Follows a guide from an empty folder, by its text alone: writes its files and runs its commands."""

import os
import re
import shlex
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.pages.answer_matcher import IdBindings
from tests.pages.blocks import Block, read_blocks, read_commands
from tests.servers import free_port, wait_until
from tests.virtual_environments import create_environment

#: Pages that build an app; their blocks are followed here, not by the runner of examples.
GUIDES = ("guides/django", "guides/fastapi", "guides/flask")
#: Kinds of blocks that are files: each has the name of its file.
FILES = {"python", "html"}
#: Ports of the guides: Understudy, the shop, the app.
API, SHOP, APP = "8000", "9000", "8080"
#: Commands that run until Ctrl-C -> their port.
_SERVERS = {
    ("understudy", "up"): API,
    ("understudy", "shop"): SHOP,
    ("flask", "run"): APP,
    ("uvicorn", "app:app"): APP,
    ("python", "manage.py", "runserver"): APP,
}
#: What the packages of the guides install as commands.
_COMMANDS = ("pip", "django-admin", "flask", "uvicorn")
_CREATE_ENVIRONMENT = "python3 -m venv .venv"
_PORT = re.compile(rf"(?<=[: ])(?:{API}|{SHOP}|{APP})\b")


class GuideRunner:
    """One guide in its own folder, with the built wheel."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in (API, SHOP, APP)}
        self._wheel = wheel
        self._ids = IdBindings()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UNDERSTUDY", "PYTHON", "VIRTUAL_ENV"))
        }
        # The environment has every package of the guides already: pip fails for one that it does not have.
        self._environment |= {
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def follow(self, page: Path) -> None:
        """Follows all blocks in order. Raises AssertionError that names the line of the first that fails."""
        for block in read_blocks(page):
            try:
                if block.kind in FILES:
                    self._write(block)
                else:
                    assert block.kind == "console", f"a block of kind {block.kind!r}"
                    for command, printed in read_commands(block):
                        self._run(command, printed)
            except Exception as problem:
                raise AssertionError(f"{page}:{block.line}: {problem}") from problem

    @property
    def app(self) -> str:
        return f"http://127.0.0.1:{self.ports[APP]}"

    @property
    def shop(self) -> str:
        return f"http://127.0.0.1:{self.ports[SHOP]}/"

    def variable(self, name: str) -> str:
        """Returns a variable that a command of the guide has set."""
        return self._environment[name]

    def run(self, command: str) -> str:
        """Runs a command in the guide's terminal, which keeps its variables. Returns its output."""
        variables = self.folder / "variables"
        script = f"{command}\ncode=$?; env -0 > {variables}; exit $code"
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, f"{command} ended with {ran.returncode}:\n{ran.stdout}"
        lines = variables.read_text().split("\0")
        self._environment = dict(line.split("=", 1) for line in lines if line)
        return ran.stdout

    def start(self, command: str) -> None:
        """Starts a server of the guide and waits until it answers."""
        port = next(port for words, port in _SERVERS.items() if " ".join(words) in command)
        with (self.folder / f"{port}.log").open("ab") as log:
            self._processes[port] = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"], cwd=self.folder, env=self._environment, stdout=log, stderr=log
            )
        if port == API:
            wait_until(lambda: f"ready http://127.0.0.1:{self.ports[API]}" in self.log(API) or self._ended(port), 120)
        wait_until(lambda: self._listens(port) or self._ended(port), 120, command)
        assert not self._ended(port), f"{command} ended:\n{self.log(port)}"

    def stop(self, port: str) -> None:
        """Stops a server, as Ctrl-C does."""
        process = self._processes.pop(port)
        process.terminate()
        process.wait(60)

    def close(self) -> None:
        """Stops all servers."""
        for port in reversed(list(self._processes)):
            self.stop(port)

    def log(self, port: str) -> str:
        """Returns the output of a server."""
        return (self.folder / f"{port}.log").read_text(errors="replace")

    def _ended(self, port: str) -> bool:
        return self._processes[port].poll() is not None

    def _listens(self, port: str) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(self.ports[port])), timeout=1):
            return True
        return False

    def _write(self, block: Block) -> None:
        name, *mode = block.words
        assert mode in ([], ["append"]), f"unknown words {mode}"
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a" if mode else "w") as written:
            written.write(self._real(block.text))

    def _run(self, command: str, printed: str) -> None:
        command = self._real(command)
        words = [word for word in shlex.split(command) if "=" not in word]
        if command == _CREATE_ENVIRONMENT:
            create_environment(self._wheel, self.folder / ".venv", _COMMANDS)
        elif any(tuple(words[: len(server)]) == server for server in _SERVERS):
            own = f" --port {self.ports[API]} --no-flower" if words[:2] == ["understudy", "up"] else ""
            self.start(command + own)
        else:
            out = self.run(command)
            if printed:
                self._ids.compare_text(printed, out, command)

    def _real(self, text: str) -> str:
        return _PORT.sub(lambda found: self.ports[found[0]], text)
