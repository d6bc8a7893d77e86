"""A real `understudy up` for the examples of pages, and the sites that pages start."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx

from tests.servers import free_port, wait_until

#: Addresses on pages -> the commands that run there.
API = "http://127.0.0.1:8000"
_SITES = {
    "9000": ["understudy", "shop"],
    "9100": ["understudy", "chatbot"],
    "7464": ["python", "-m", "pydoc"],
}


class LiveStack:
    """A stack in its own folder. `api` and `secret` are its address and its token."""

    def __init__(self, folder: Path, model: dict[str, str]) -> None:
        """`model`: settings `UNDERSTUDY_LLM_…` of the language model."""
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ports: dict[str, str] = {}
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
        self.environment = clean | {"PATH": path, "COLUMNS": "110", "PYTHONUNBUFFERED": "1"}
        self.environment |= {f"UNDERSTUDY_LLM_{name}": value for name, value in model.items()}
        # Pages begin in a clone of Understudy.
        (folder / ".venv").symlink_to(sys.prefix)
        self._launch(["understudy", "up", "--port", "0", "--no-flower"], "up")
        wait_until(lambda: "ready http" in self._log("up"), 120, "the stack is ready")
        self.api = (folder / ".understudy" / "server").read_text().strip()
        self.secret = (folder / ".understudy" / "token").read_text().strip()

    @classmethod
    @contextmanager
    def of(cls, folder: Path, model: dict[str, str]) -> Iterator[Self]:
        """Yields a stack and stops it at the end of the block."""
        stack = cls(folder, model)
        try:
            yield stack
        finally:
            stack.close()

    def close(self) -> None:
        self._end(self._processes)

    @staticmethod
    def _end(processes: list[subprocess.Popen[bytes]]) -> None:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(60)

    def starts(self, words: list[str]) -> bool:
        """Starts a command that runs until Ctrl-C; returns False for any other command."""
        if words[:2] == ["understudy", "up"]:
            return True
        for port, site in _SITES.items():
            if words[: len(site)] == site:
                assert port in words, f"pages have it on port {port}"
                if port not in self._ports:
                    self._open(port, words, site[-1])
                return True
        return False

    def _open(self, port: str, words: list[str], name: str) -> None:
        real = str(free_port())
        self._launch([real if word == port else word for word in words], name)
        wait_until(lambda: _answers(f"http://127.0.0.1:{real}/"), 30, name)
        self._ports[port] = real

    def clear(self) -> None:
        """Ends the sites: another page may start other ones."""
        self._end(self._processes[1:])
        del self._processes[1:]
        self._ports.clear()

    def said(self, words: list[str]) -> str:
        """Returns the output of such a command."""
        return self.shown(self._log("up" if words[1] == "up" else words[-1]))

    def real(self, text: str) -> str:
        """Replaces the page's addresses by the real ones."""
        for port, real in self._ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{real}")
        return text.replace(API, self.api)

    def shown(self, text: str) -> str:
        """Replaces the real addresses by the page's."""
        for port, real in self._ports.items():
            text = text.replace(f"127.0.0.1:{real}", f"127.0.0.1:{port}")
        return text.replace(self.api, API).replace(str(self.folder), "…")

    def _launch(self, words: list[str], name: str) -> None:
        command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
            )

    def _log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


def _answers(url: str) -> bool:
    # A page may start a slow site.
    with suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False).status_code == 200
    return False
