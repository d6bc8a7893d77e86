"""Starts processes of Understudy as copies of one process that has imported their modules.

The imports take most of a start, and the tests start hundreds of processes. A copy has its own environment,
folder and log; it runs the command as `python -m understudy.deploy.main` does, and ends as that does.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

#: Modules that the processes import, at their start and later.
_MODULES = (
    *("understudy.api.app", "understudy.deploy.main", "understudy.worker.process", "understudy.worker.sweeper"),
    *("understudy.environments.chat", "understudy.environments.text", "understudy.environments.web"),
    *("understudy.minds.heuristic", "understudy.cli.commands"),
    *("sqlalchemy.dialects.sqlite.pysqlite", "sqlalchemy.dialects.postgresql.psycopg", "psycopg"),
    *("celery.apps.worker", "celery.worker.consumer", "kombu.transport.redis", "understudy.queue.celery.consumer"),
    *("uvicorn.protocols.http.auto", "uvicorn.lifespan.on", "uvicorn.loops.auto"),
)


class ForkServer:
    """The process that is copied, one for each process that runs tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._lock = threading.Lock()
        atexit.register(self._close)

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    @classmethod
    @cache
    def shared(cls) -> "ForkServer":
        return cls()

    def request(self, **request: Any) -> Any:
        """Returns the answer of the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


class ForkedProcess:
    """A started copy, with the methods of `subprocess.Popen`."""

    def __init__(self, command: tuple[str, ...], env: Mapping[str, str], log: Path, cwd: Path) -> None:
        self._server = ForkServer.shared()
        # An exit code can be read once.
        self._lock = threading.RLock()
        self.returncode: int | None = None
        self.args = command
        self.pid: int = self._server.request(command=command, env=dict(env), log=str(log), cwd=str(cwd))

    def poll(self) -> int | None:
        """Returns the exit code; None while the process runs."""
        with self._lock:
            if self.returncode is None:
                self.returncode = self._server.request(poll=self.pid)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        # Until `poll` has its exit code, no other process gets its id.
        with self._lock:
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def serve() -> None:
    """Answers requests until the tests end; returns in each copy after its command."""
    for name in _MODULES:
        importlib.import_module(name)
    gc.collect()
    # Collections in copies leave these objects, and so their shared memory, as they are.
    gc.freeze()
    # Readers without buffers, and no threads: nothing of the server acts in a copy.
    with open(0, "rb", buffering=0, closefd=False) as requests:
        while line := requests.readline():
            request = json.loads(line)
            if "poll" in request:
                answer = _exit_code(request["poll"])
            elif not (answer := os.fork()):
                _run(**request)
                return
            os.write(1, json.dumps(answer).encode() + b"\n")


def _exit_code(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _run(command: list[str], env: dict[str, str], log: str, cwd: str) -> None:
    from understudy.deploy.main import main

    for path, flags, number in ((os.devnull, os.O_RDONLY, 0), (log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 1)):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["understudy", *command]
    main()


if __name__ == "__main__":
    # Ctrl-C is for the tests, which then close the pipe.
    with contextlib.suppress(KeyboardInterrupt):
        serve()
