"""An installation to measure on: a store, a broker, and real processes around them."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import redis
import sqlalchemy
from sqlalchemy import ColumnElement, func, select

from tests.factories import make_participants, make_study, make_workspace
from tests.servers import ROOT, Fleet, PostgresServer, wait_until
from understudy.deploy.broker import BrokerServer
from understudy.deploy.migrate import migrate
from understudy.domain.lifecycle import TERMINAL
from understudy.domain.queues import Queue
from understudy.queue.celery.app import create_celery
from understudy.queue.publisher import Publisher
from understudy.settings import Settings
from understudy.store import leases
from understudy.store.engine import Store
from understudy.store.schema import Tables

PLUGINS = Path(__file__).parent / "plugins"
#: Where `make bench` installs the rivals.
RIVALS = Path(os.environ.get("UNDERSTUDY_BENCH_RIVALS", ROOT / "build" / "bench"))
RIVAL_TIMEOUT_S = 300

_p = Tables.participant


def use_plugins() -> None:
    """The environment and mind without work, for this process and those it starts."""
    if str(PLUGINS) not in sys.path:
        sys.path.insert(0, str(PLUGINS))
        parts = (str(PLUGINS), os.environ.get("PYTHONPATH"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, parts))


@dataclass
class Installation:
    """A migrated, empty store with one workspace, a broker, and processes that are ended with the block."""

    settings: Settings
    store: Store
    fleet: Fleet
    token: str
    workspace_id: UUID
    #: Of API processes, by their address.
    pids: dict[str, int] = field(default_factory=dict)
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def participants(self, count: int, max_interactions: int = 1, **content: Any) -> list[UUID]:
        """Pending ones on the environment without work, not dispatched."""
        study_id, (iteration_id,) = make_study(
            self.store, self.workspace_id, content={"environment": "noop"} | content, mind="noop"
        )
        return make_participants(
            self.store, self.workspace_id, study_id, iteration_id, count, max_interactions=max_interactions
        )

    def publish(self, ids: Sequence[UUID]) -> None:
        """Queue their run messages, all at once: a worker that starts later has so many slots."""
        self.store.write(partial(leases.create_lease, worker_id=uuid4(), name="later", ttl_s=300, slots=len(ids)))
        publisher = Publisher(create_celery(self.settings.broker_url), self.store)
        while publisher.refill(len(ids)).has_more:
            pass
        publisher.close()

    def finish(self, ids: Sequence[UUID], timeout_s: float = 300) -> None:
        """Wait until all of a study are terminal, seldom looking: a look takes time from who is measured."""
        active = select(func.count()).where(self.of(ids), _p.c.status.not_in(TERMINAL))
        began = time.monotonic()

        def done() -> bool:
            time.sleep(min(max((time.monotonic() - began) / 20, 0.05), 0.5))
            with self.store.read() as connection:
                return connection.scalar(active) == 0

        wait_until(done, timeout_s, f"{len(ids)} participants ended")

    def took_s(self, ids: Sequence[UUID]) -> float:
        """Seconds from the first claim to the last end of a study, by the store's clock."""
        with self.store.read() as connection:
            first, last = connection.execute(
                select(func.min(_p.c.started_at), func.max(_p.c.finished_at)).where(self.of(ids))
            ).one()
        return float((last - first).total_seconds())

    def of(self, ids: Sequence[UUID]) -> ColumnElement[bool]:
        """Who is of the study that `participants` made for these."""
        return _p.c.study_id == select(_p.c.study_id).where(_p.c.id == ids[0]).scalar_subquery()

    def queued(self, queue: Queue = Queue.RUNS) -> int:
        """Messages that wait there; first of all, run messages of new participants."""
        with contextlib.closing(redis.Redis.from_url(self.settings.broker_url)) as client:
            return int(client.llen(str(queue)))  # type: ignore[arg-type]

    def api(self) -> str:
        """Starts an API process; returns its address."""
        (process,) = self.fleet.start("api")
        self.pids[process.url] = process.popen.pid
        return process.url

    def client(self) -> httpx.Client:
        """A caller of an API process of its own, connected and with a token."""
        headers = {"Authorization": f"Bearer {self.token}"}
        client = httpx.Client(base_url=self.api(), headers=headers, timeout=60, trust_env=False)
        self._held.callback(client.close)
        client.get("/healthz").raise_for_status()
        return client

    def close(self) -> None:
        """End all processes."""
        self._held.close()
        self.fleet.stop()

    def flush_broker(self) -> None:
        """Forget all messages."""
        with contextlib.closing(redis.Redis.from_url(self.settings.broker_url)) as client:
            client.flushall()


@dataclass
class Bench:
    """One run of one store: what rows measure with."""

    kind: str
    pairs: int
    smoke: bool
    folder: Path
    broker_url: str
    postgres_url: str | None = None
    #: The URL of the store that others begin as a copy of.
    template: str | None = None

    def filled(self, fill: Callable[[Store], object]) -> "Bench":
        """The same, but each store is a copy of one that `fill` wrote into."""
        url = self.store_url()
        migrate(Settings(database_url=url))
        store = Store(url)
        fill(store)
        store.dispose()
        return replace(self, template=url)

    def size(self, full: int, smoke: int) -> int:
        """`full`, or `smoke` when it is only to be seen that it works."""
        return smoke if self.smoke else full

    def interleave(self, *takers: Callable[[], float | None]) -> list[list[float]]:
        """A B A B …: so many samples of each, taken in turn. A taker that yields None has no samples."""
        samples: list[list[float]] = [[] for _ in takers]
        for _ in range(self.pairs):
            for mine, take in zip(samples, takers, strict=True):
                if (figure := take()) is not None:
                    mine.append(figure)
        return samples

    def store_url(self) -> str:
        """The URL of a store of this run's kind that nobody has used yet."""
        name = f"bench_{uuid4().hex}"
        source = sqlalchemy.make_url(self.template).database if self.template else None
        if self.kind == "sqlite":
            file = self.folder / f"{name}.db"
            if source is not None:
                shutil.copy(source, file)
            return f"sqlite:///{file}"
        assert self.postgres_url is not None
        engine = sqlalchemy.create_engine(self.postgres_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {source}" if source else ""))
        engine.dispose()
        url = sqlalchemy.make_url(self.postgres_url).set(database=name)
        return url.render_as_string(hide_password=False)

    def drop_store(self, url: str) -> None:
        """Remove it again; everybody has closed it."""
        if self.kind == "sqlite":
            file = Path(sqlalchemy.make_url(url).database or "")
            for name in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))):
                name.unlink(missing_ok=True)
            return
        assert self.postgres_url is not None
        engine = sqlalchemy.create_engine(self.postgres_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {sqlalchemy.make_url(url).database} WITH (FORCE)")
        engine.dispose()

    @contextlib.contextmanager
    def stage(self, **settings: Any) -> Iterator[Installation]:
        """An installation for the time of the block; `settings` as in `Settings`."""
        folder = Path(tempfile.mkdtemp(prefix="stage-", dir=self.folder))
        made = Settings(data_dir=folder, database_url=self.store_url(), broker_url=self.broker_url, **settings)
        migrate(made)
        store = Store(made.store_url)
        token = make_workspace(store)
        stage = Installation(made, store, Fleet(made), token.secret, token.workspace_id)
        stage.flush_broker()
        try:
            yield stage
        finally:
            stage.close()
            store.dispose()
            self.drop_store(made.store_url)

    def rival(self, name: str, **arguments: Any) -> dict[str, Any] | None:
        """What the rival's program answers; None where it is left out.

        It runs as a process of its own in the rivals' environment. `--smoke` leaves out rivals that are not
        installed; otherwise that is an error.
        """
        python = RIVALS / "bin" / "python"
        if not python.exists():
            if self.smoke:
                return None
            raise SystemExit(f"the rivals are not installed in {RIVALS}: run this by `make bench`")
        ran = subprocess.run(
            [python, "-W", "ignore", Path(__file__).parent / "baselines" / f"{name}.py", json.dumps(arguments)],
            capture_output=True,
            text=True,
            timeout=RIVAL_TIMEOUT_S,
            cwd=self.folder,
            check=False,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"the rival {name} failed:\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}")
        # Some of them say other things too.
        (told,) = (line for line in ran.stdout.splitlines() if line.startswith("{"))
        answer: dict[str, Any] = json.loads(told)
        return answer


@contextlib.contextmanager
def opened(kinds: Sequence[str], *, pairs: int, smoke: bool) -> Iterator[list[Bench]]:
    """A bench for each kind of store, with one broker and one PostgreSQL server for all of them."""
    use_plugins()
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="understudy-bench-")))
        broker = held.enter_context(BrokerServer(folder))
        postgres = held.enter_context(PostgresServer()).url if "postgresql" in kinds else None
        yield [Bench(kind, pairs, smoke, folder, broker.url, postgres) for kind in kinds]


def peak_memory_mb(pid: int) -> float:
    """The most memory that a process held at a time so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"nobody knows what process {pid} held")


def in_thread(work: Callable[[], None]) -> threading.Thread:
    """`work` under way in a thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
