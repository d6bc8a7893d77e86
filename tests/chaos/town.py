"""A whole installation as processes, each of which may be killed at any time and is started again."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import select

from deploy.broker import BrokerServer
from deploy.migrate import migrate
from shared.settings import Settings
from shared.store.engine import Store
from shared.store.schema import Tables
from tests.servers import Process, wait_until

#: How long after its end a process is started again, as a supervisor would.
RESTART_AFTER_S = 0.3

CONCURRENCY = 60


class Town:
    """API, workers, sweepers and broker of one installation; `store` to look at it from outside.

    A process that ended is started again until `settle`; faults named at the start are armed in the first
    process of each name only.
    """

    def __init__(self, folder: Path, database_url: str, *, workers: int = 3, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # The broker dies with the thread that started it: one that lives as long as the town.
        self._broker_thread = ThreadPoolExecutor(1)
        self.broker = BrokerServer(folder)
        self._broker_thread.submit(self.broker.start).result()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self.settings = Settings(
            data_dir=folder, database_url=database_url, broker_url=self.broker.url, **settings
        )
        migrate(self.settings)
        self.store = Store(self.settings.store_url)
        self.api = f"http://127.0.0.1:{self.port}"
        self._commands: dict[str, tuple[str, ...]] = {
            "api": ("api", "--port", str(self.port)),
            "sweeper-1": ("sweeper", "--ready"),
            "sweeper-2": ("sweeper", "--ready"),
            "control": ("worker", "--control", "--ready"),
            "alone": ("worker", "--alone", "--ready"),
        }
        for number in range(1, workers + 1):
            name = f"run-{number}"
            concurrency = ("--concurrency", str(CONCURRENCY))
            self._commands[name] = ("worker", "--name", name, *concurrency, "--ready")
        self.workers = [name for name in self._commands if name.startswith("run-")]
        self.processes: dict[str, Process] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def start(self, faults: str = "") -> None:
        """Start everything; ready when this returns, unless `faults` keep it from that."""
        for name in self._commands:
            self.processes[name] = self._launch(name, UNDERSTUDY_FAULTS=faults)
        if not faults:
            for name, process in self.processes.items():
                if name != "api":
                    process.wait_ready()
        self._keeper.start()

    def pid(self, name: str) -> int:
        """The process that has this name now."""
        return self.processes[name].popen.pid

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the process that has this name now, if it still runs."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            self.processes[name].popen.send_signal(number)

    def alive(self, name: str) -> bool:
        return self.processes[name].popen.poll() is None

    def close(self) -> None:
        """End everything."""
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for process in self.processes.values():
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
                process.popen.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.stop()
        self.store.dispose()
        self._broker_thread.submit(self.broker.stop).result()
        self._broker_thread.shutdown()

    def __enter__(self) -> "Town":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def running_on(self, name: str) -> list[Any]:
        """`(id, epoch)` of the participants that this worker process holds by a live lease."""
        participant, lease = Tables.participant, Tables.lease
        held = (
            select(participant.c.id, participant.c.epoch)
            .join(lease, lease.c.id == participant.c.worker_id)
            .where(participant.c.status == "running", lease.c.name.startswith(f"{name}@"))
        )
        with self.store.read() as connection:
            return list(connection.execute(held))

    def empty_broker(self) -> None:
        """Everything that was queued is gone."""
        client = redis.Redis.from_url(self.broker.url)
        with contextlib.closing(client):
            client.flushall()

    @contextlib.contextmanager
    def without_broker(self, *, empty: bool) -> Iterator[None]:
        """The broker is away for the time of the block, and comes back as it was or empty."""
        child = self.broker.child
        child.kill()
        wait_until(lambda: not child.running)
        try:
            yield
        finally:
            self._broker_thread.submit(child.start).result()
            wait_until(self._broker_answers, 30)
            if empty:
                self.empty_broker()

    def _broker_answers(self) -> bool:
        client = redis.Redis.from_url(self.broker.url, socket_connect_timeout=1)
        with contextlib.closing(client):
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def _launch(self, name: str, **variables: str) -> Process:
        return Process(self.settings, *self._commands[name], name=name, **variables)

    def _keep(self) -> None:
        while not self._closing.wait(RESTART_AFTER_S):
            for name, process in list(self.processes.items()):
                if process.popen.poll() is not None and not self._closing.is_set():
                    with self._lock:
                        self.processes[name] = self._launch(name)
