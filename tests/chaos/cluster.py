"""An installation as processes, each of which may be killed at any time and is started again."""

import contextlib
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import redis
from sqlalchemy import create_engine, select
from sqlalchemy.exc import OperationalError

from tests.e2e.store_link import link_to
from tests.servers import Process, wait_until
from understudy.deploy.broker import BrokerServer
from understudy.deploy.migrate import migrate
from understudy.domain.errors import ServiceUnavailable
from understudy.faults import FIRED_PREFIX
from understudy.settings import Settings
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables
from understudy.worker.heartbeat import HEARTBEAT_GRACE_S

_p, _lease = Tables.participant, Tables.lease

#: Seconds until an ended process is started again, at most.
CHECK_EVERY_S = 0.1

#: Normally, no process holds SQLite's lock for so long.
LOCKED_S = 2

#: One worker has slots for all participants that clients let run at once: there is always a free slot.
CONCURRENCY = 120


class ClaimLoss(NamedTuple):
    """A participant lost its worker, by the wall clock."""

    participant_id: UUID
    epoch: int
    at: float


class Outage(NamedTuple):
    """A part that all others need was unavailable, by the wall clock."""

    what: str
    begin: float
    end: float


class Cluster:
    """API, workers, sweepers and broker of one installation, and its store.

    A process that ended is started again until `close`. `losses` are the claims of lost workers, `drained` those
    of drained workers, `outages` the times without broker, store, run worker or sweeper.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        *,
        workers: int = 4,
        sweepers: int = 2,
        proxies: bool = False,
        **settings: Any,
    ) -> None:
        """With `proxies`, each run worker connects to the store by a proxy of its own (PostgreSQL only)."""
        folder.mkdir(parents=True, exist_ok=True)
        # The broker ends with the thread that started it: one that lives as long as the cluster.
        self._broker_thread = ThreadPoolExecutor(1)
        self.broker = BrokerServer(folder)
        self._broker_thread.submit(self.broker.start).result()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self.settings = Settings(data_dir=folder, database_url=database_url, broker_url=self.broker.url, **settings)
        migrate(self.settings)
        self.store = Store(self.settings.store_url)
        self.api = f"http://127.0.0.1:{self.port}"
        self.workers = [f"run-{number}" for number in range(1, workers + 1)]
        self.sweepers = [f"sweeper-{number}" for number in range(1, sweepers + 1)]
        #: The link of each worker to the store, and the URL of the store by it.
        self._links = contextlib.ExitStack()
        linked = self.workers if proxies else []
        self.proxies = {name: self._links.enter_context(link_to(self.settings.store_url)) for name in linked}
        self._cut: set[str] = set()
        self.processes: dict[str, Process] = {}
        self.losses: list[ClaimLoss] = []
        self.drained: list[ClaimLoss] = []
        self.outages: list[Outage] = []
        #: Unavailable parts, and since when.
        self._unavailable: dict[str, float] = {}
        self._starts: Counter[str] = Counter()
        #: Kind or name of process -> the faults of its next starts.
        self._faults: dict[str, list[str]] = {}
        #: Starts of workers that drain.
        self._draining: set[str] = set()
        #: Starts whose lease was renewed recently.
        self._live: set[str] = set()
        self._frozen: set[str] = set()
        self._noted: set[str] = set()
        self._killed: set[str] = set()
        #: Processes that a fault point killed, by kind.
        self.died: Counter[str] = Counter()
        self._notes = ThreadPoolExecutor(8, "notes")
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._writer = threading.Thread(target=self._try_to_write, name="writer", daemon=True)

    # -- processes -----------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        return ["api", *self.sweepers, "control", "alone", *self.workers]

    def arm(self, kind_or_name: str, faults: str, starts: int = 1) -> None:
        """Arms `faults` in the next `starts` of each process of a kind ("run"), or of one ("run-2")."""
        for name in self.names:
            if kind_or_name in {name, name.partition("-")[0]}:
                self._faults[name] = [faults] * starts

    def start(self, *names: str) -> None:
        """Starts these processes, by default all; waits until they are ready, unless they have faults."""
        names = names or tuple(self.names)
        armed = set(self._faults)
        for name in names:
            self._launch(name)
        for name in names:
            if name != "api" and name not in armed:
                self.processes[name].wait_ready()
        if not self._keeper.is_alive():
            self._keeper.start()
            self._writer.start()

    def alive(self, name: str) -> bool:
        return self.processes[name].popen.poll() is None

    def ready(self, name: str) -> bool:
        """Whether this start of the process is ready."""
        if name != "api":
            return self.processes[name].ready
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def works(self, name: str) -> bool:
        """Whether it works: it is ready, not frozen, not cut from the store, not draining."""
        process, started = self.processes.get(name), self._started(name)
        if process is None or process.popen.poll() is not None or not self.ready(name):
            return False
        return name not in self._cut and started not in self._draining | self._frozen

    def in_touch(self, name: str) -> bool:
        """Whether it works and has a live lease. A worker that was cut off is back with its next heartbeat."""
        return self.works(name) and self._started(name) in self._live

    def _read_leases(self) -> None:
        # A worker whose heartbeat is late takes no messages.
        late_s = self.settings.lease_ttl_s - self.settings.heartbeat_interval_s - HEARTBEAT_GRACE_S
        renewed = select(_lease.c.name).where(_lease.c.expires_at > store_clock(late_s))
        with contextlib.suppress(ServiceUnavailable), self.store.read() as connection:
            self._live = {name.partition("@")[0] for name in connection.scalars(renewed)}

    def fired(self, fault: str) -> int:
        """How often a fault (`extend.commit.after=kill`) fired, by the logs of all processes."""
        logs = {process.log for process in self.processes.values()}
        return sum(log.read_text(errors="replace").count(f"{FIRED_PREFIX}{fault}\n") for log in logs)

    def kill(self, name: str) -> bool:
        """Sends SIGKILL and notes the loss; False if the process does not run."""
        with self._lock:
            process = self.processes[name]
            if process.popen.poll() is not None:
                return False
            process.popen.kill()
            self._killed.add(name)
            self._note_loss(name, time.time(), ended=True)
        return True

    def freeze(self, name: str) -> Callable[[], None] | None:
        """Sends SIGSTOP and notes the loss; returns the undo, or None if the process does not run."""
        with self._lock:
            process, started = self.processes[name], self._started(name)
            if process.popen.poll() is not None or started in self._frozen:
                return None
            process.popen.send_signal(signal.SIGSTOP)
            self._frozen.add(started)
            self._note_loss(name, time.time())

        def thaw() -> None:
            with contextlib.suppress(ProcessLookupError):
                process.popen.send_signal(signal.SIGCONT)
            self._frozen.discard(started)

        return thaw

    def freeze_paused(self, file: Path) -> Callable[[], None] | None:
        """Freezes the process that wrote `file` when it paused; returns the undo, which also ends the pause.

        Returns None while no process pauses.
        """
        paused = file.read_text() if file.exists() else ""
        if not paused:
            return None
        found = [name for name, process in self.processes.items() if str(process.popen.pid) == paused]
        thaw = self.freeze(found[0]) if found else None

        def resume() -> None:
            file.unlink(missing_ok=True)
            if thaw is not None:
                thaw()

        return resume

    def cut(self, name: str, *, stall: bool) -> Callable[[], None] | None:
        """Cuts a worker from the store and notes the loss; returns the undo, or None if it is cut."""
        link, _ = self.proxies[name]
        with self._lock:
            if name in self._cut or not self.alive(name):
                return None
            self._cut.add(name)
            link.stall() if stall else link.cut()
            self._note_loss(name, time.time())

        def restore() -> None:
            link.restore()
            self._cut.discard(name)
            # Messages that a stalled link held back arrive now, for example a claim that timed out.
            self._note_loss(name, time.time())

        return restore

    def lose_all(self) -> None:
        """Notes the loss of all workers, because the store is unavailable."""
        for name in (*self.workers, "alone"):
            self._note_loss(name, time.time())

    def drain(self, name: str) -> bool:
        """Sends SIGTERM and notes its claims as drained; False if the process does not work."""
        with self._lock:
            process, started = self.processes[name], self._started(name)
            if not self.works(name):
                return False
            with contextlib.suppress(ServiceUnavailable):
                self.drained += self._held_by(started, time.time())
            process.popen.send_signal(signal.SIGTERM)
            self._draining.add(started)
        return True

    def stop(self) -> None:
        """Ends all processes but the broker. May be repeated."""
        self._closing.set()
        for thread in (self._keeper, self._writer):
            if thread.is_alive():
                thread.join()
        for link, _ in self.proxies.values():
            link.restore()
        for process in self.processes.values():
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
                process.popen.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.stop()

    def close(self) -> None:
        """Ends everything."""
        try:
            self.stop()
        finally:
            self._notes.shutdown()
            self._links.close()
            self.store.dispose()
            self._broker_thread.submit(self.broker.stop).result()
            self._broker_thread.shutdown()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self, name: str) -> str:
        """The name of this start of a process; its lease has it too."""
        return f"{name}.{self._starts[name]}"

    def _launch(self, name: str) -> None:
        self._starts[name] += 1
        kind = name.partition("-")[0]
        command: tuple[str, ...] = ("worker", "--name", self._started(name), f"--{kind}", "--ready")
        if kind == "api":
            command = ("api", "--port", str(self.port))
        elif kind == "sweeper":
            command = ("sweeper", "--ready")
        elif kind == "run":
            command = (*command[:3], "--concurrency", str(CONCURRENCY), "--ready")
        variables = {}
        if faults := self._faults.get(name):
            variables["UNDERSTUDY_FAULTS"] = faults.pop()
        if name in self.proxies:
            variables["UNDERSTUDY_DATABASE_URL"] = self.proxies[name][1]
        self.processes[name] = Process(self.settings, *command, name=name, **variables)

    def _keep(self) -> None:
        while not self._closing.wait(CHECK_EVERY_S):
            for name, process in list(self.processes.items()):
                with self._lock:
                    if process.popen.poll() is not None and not self._closing.is_set():
                        if process.popen.returncode < 0:
                            # A fault point killed it, unless `kill` did.
                            if name not in self._killed and process.popen.returncode == -signal.SIGKILL:
                                self.died[name.partition("-")[0]] += 1
                            self._note_loss(name, time.time(), ended=True)
                        self._killed.discard(name)
                        self._launch(name)
            self._read_leases()
            self._note_state("run worker", is_up=any(self.in_touch(name) for name in self.workers))
            self._note_state("sweeper", is_up=any(self.works(name) for name in self.sweepers))

    def _try_to_write(self) -> None:
        """Notes when no process can write: on SQLite, one frozen during a write blocks all others."""
        if self.store.url.get_backend_name() != "sqlite":
            return
        engine = create_engine(self.store.url, isolation_level="AUTOCOMMIT", connect_args={"timeout": LOCKED_S})
        while not self._closing.wait(CHECK_EVERY_S):
            asked_at = time.time()
            with engine.connect() as connection:
                try:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                except OperationalError:
                    self._note_state("store's lock", is_up=False, since=asked_at)
                else:
                    connection.exec_driver_sql("ROLLBACK")
                    self._note_state("store's lock", is_up=True)
        engine.dispose()

    # -- losses and outages -----------------------------------------------------------------------------------

    def _note_loss(self, name: str, at: float, *, ended: bool = False) -> None:
        """Adds the claims of this start of a worker to the losses; its end is noted once."""
        started, process = self._started(name), self.processes[name]
        if not name.startswith(("run", "alone")) or started in self._noted:
            return
        if ended:
            self._noted.add(started)

        def note() -> None:
            if ended:
                process.popen.wait()
            # And again later: what it had sent to the store before may be committed by then.
            for pause_s in (0, 0.3, 2):
                time.sleep(pause_s)
                while not self._closing.is_set():
                    try:
                        self.losses += self._held_by(started, at)
                        break
                    except ServiceUnavailable:
                        time.sleep(0.1)

        self._notes.submit(note)

    def _held_by(self, started: str, at: float) -> list[ClaimLoss]:
        running = (_p.c.status == "running", _lease.c.name.startswith(f"{started}@"))
        held = select(_p.c.id, _p.c.epoch).join(_lease, _lease.c.id == _p.c.worker_id).where(*running)
        with self.store.read() as connection:
            return [ClaimLoss(row.id, row.epoch, at) for row in connection.execute(held)]

    def leases_of(self, ids: Sequence[str]) -> int:
        """The number of these participants that run on a live lease."""
        live = (_p.c.id.in_([UUID(id_) for id_ in ids]), _lease.c.expires_at > store_clock())
        held = select(_p.c.id).join(_lease, _lease.c.id == _p.c.worker_id).where(*live)
        with self.store.read() as connection:
            return len(connection.scalars(held).all())

    def wait_for_recovery(self, timeout_s: float) -> None:
        """Waits until a sweeper has recovered a participant, or for `timeout_s`."""
        event = Tables.event
        with self.store.read() as connection:
            now = connection.scalar(select(store_clock()))
        recent = select(event.c.data).where(event.c.kind == "status", event.c.at > now)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not self._closing.wait(0.02):
            with self.store.read() as connection:
                if any(data.get("reason") == "lost" for data in connection.scalars(recent)):
                    return

    def _note_state(self, what: str, *, is_up: bool, since: float | None = None) -> None:
        with self._lock:
            now = time.time()
            if not is_up:
                self._unavailable.setdefault(what, now if since is None else since)
            elif (begin := self._unavailable.pop(what, None)) is not None:
                self.outages.append(Outage(what, begin, now))

    @contextlib.contextmanager
    def without(self, what: str) -> Iterator[None]:
        """Notes an outage of `what` for the time of the block."""
        self._note_state(what, is_up=False)
        try:
            yield
        finally:
            self._note_state(what, is_up=True)

    # -- the broker ----------------------------------------------------------------------------------------

    def empty_broker(self) -> None:
        """Deletes all messages."""
        with redis.Redis.from_url(self.broker.url) as client, self.without("queue"):
            client.flushall()

    @contextlib.contextmanager
    def without_broker(self, *, empty: bool) -> Iterator[None]:
        """Stops the broker for the time of the block; it starts again as it was or empty."""
        child = self.broker.child
        with self.without("broker"):
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
        with redis.Redis.from_url(self.broker.url, socket_connect_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
