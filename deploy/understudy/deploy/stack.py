"""Everything that makes up Understudy on one machine, started together."""

import contextlib
import itertools
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from understudy.deploy.bootstrap import ensure_default_workspace
from understudy.deploy.broker import BrokerServer
from understudy.deploy.child import Child, kill_orphan
from understudy.deploy.lock import DataDirLock
from understudy.deploy.migrate import migrate
from understudy.deploy.owner_only_files import write_private
from understudy.deploy.ports import check_port, free_port, http_url, is_healthy, reachable_host
from understudy.deploy.supervisor import Supervisor
from understudy.domain.errors import UnderstudyError
from understudy.settings import Settings

_LOOPBACK = "127.0.0.1"
#: Time for all parts to get ready: a good while for the first ones, and some for each worker, which take
#: turns on a small machine.
_READY_TIMEOUT_S = 60
_READY_TIMEOUT_PER_WORKER_S = 5

#: Of Flower wherever it runs.
FLOWER_OPTIONS = {
    "persistent": True,
    # Else it keeps what it has seen only when it is told to end. In ms.
    "state_save_interval": 60_000,
    # Each takes some kB of memory, and its page stands still while all are saved.
    "max_tasks": 20_000,
    # In s. Where each worker has a name of its own, the list would only grow.
    "purge_offline_workers": 3600,
    # Its default does not show the arguments, which name participant and study.
    "tasks_columns": "name,args,state,received,runtime,worker,uuid",
}


class StackStartError(Exception):
    """The stack can't be started; the text says why and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """What is to run. Ports: 0 is a free one."""

    host: str = _LOOPBACK
    port: int = 8000
    #: Processes that run simulations. 0: nothing on this machine does, nor stops or retries them.
    workers: int = 1
    #: Simulations at a time in each of them.
    concurrency: int = 100
    flower: bool = True
    flower_port: int = 0
    broker_port: int = 0


class Stack:
    """The parts of one machine, on one data folder. Made by `run_stack`."""

    def __init__(self, settings: Settings, plan: StackPlan, supervisor: Supervisor) -> None:
        self._plan = plan
        self._broker: BrokerServer | None = None
        self.supervisor = supervisor
        self.data_dir = settings.data_dir.absolute()
        self.logs = self.data_dir / "logs"
        self._run_dir = self.data_dir / "run"
        given = settings.model_fields_set
        #: What the parts get: the settings given, and what follows from being on one machine.
        self.settings = settings.model_copy(
            update={
                "data_dir": self.data_dir,
                # One's own machine is what people point a simulation at first.
                "allow_private_hosts": "allow_private_hosts" not in given or settings.allow_private_hosts,
                # And its logs are read by people.
                "log_format": settings.log_format if "log_format" in given else "text",
            }
        )
        self._own_broker = "broker_url" not in given or not settings.broker_url
        self._port = plan.port
        self._flower_port = plan.flower_port
        #: Parts but the API show their metrics at ports of their own, from this one on.
        self._metrics_ports = itertools.count(settings.metrics_port or 0)

    @property
    def url(self) -> str:
        """Where the API is, as it was asked for."""
        return http_url(self._plan.host, self._port)

    @property
    def local_url(self) -> str:
        """Where this machine reaches the API; the command line finds it in `data_dir/server`."""
        return http_url(reachable_host(self._plan.host), self._port)

    @property
    def flower_url(self) -> str | None:
        """Where Flower is; None if it was not asked for."""
        return f"http://{_LOOPBACK}:{self._flower_port}" if self._plan.flower else None

    @property
    def token_file(self) -> Path:
        return self.data_dir / "token"

    @property
    def flower_password_file(self) -> Path:
        return self.data_dir / "flower-password"

    def start(self) -> None:
        """Starts everything and returns when it works: the API answers, the workers take messages.

        Raises StackFailed, BrokerFailed, ChildFailed or StopRequested; whoever made the stack then stops what
        runs already.
        """
        self._port = _resolve_port("the API", "--port", self._plan.host, self._plan.port)
        if self._plan.flower:
            self._flower_port = _resolve_port("Flower", "--flower-port", _LOOPBACK, self._plan.flower_port)
        for folder in (self.logs, self._run_dir):
            folder.mkdir(mode=0o700, exist_ok=True)
        for pid_file in self._run_dir.glob("*.pid"):
            # Parts of a killed supervisor; on Linux they died with it. The broker sees to its own.
            if pid_file.stem != "broker":
                kill_orphan(pid_file)
        if self._own_broker:
            self._start_broker()
        self._prepare_store()
        self.supervisor.start(self._api())
        if self._plan.workers:
            self.supervisor.start(*self._workers())
        self.supervisor.start(self.child("sweeper", ["sweeper"]))
        if self._plan.flower:
            self.supervisor.start(self._flower())
        self.supervisor.wait_ready(_READY_TIMEOUT_S + _READY_TIMEOUT_PER_WORKER_S * self._plan.workers)
        write_private(self.data_dir / "server", self.local_url + "\n")

    def child(self, name: str, command: Sequence[str], ready: Callable[[], bool] | None = None) -> Child:
        """A part of ours, `understudy <command>`; without `ready` it says so itself by `--ready-file`."""
        ready_file = None if ready else self._run_dir / f"{name}.ready"
        return Child(
            name,
            # -P: the folder `up` is called from may hold an `api` or a `worker` of its own.
            [
                *(sys.executable, "-P", "-m", "understudy.deploy.main", *command),
                *(("--ready-file", str(ready_file), *self._metrics_port()) if ready_file else ()),
            ],
            log=self.logs / f"{name}.log",
            run_dir=self._run_dir,
            env=self._environment(),
            ready=ready,
            ready_file=ready_file,
        )

    def _metrics_port(self) -> Sequence[str]:
        wanted = self.settings.metrics_port
        if wanted is None:
            return ()
        return ("--metrics-port", str(next(self._metrics_ports) if wanted else 0))

    def _api(self) -> Child:
        host, port = self._plan.host, self._port
        return self.child(
            "api", ["api", "--host", host, "--port", str(port)], lambda: is_healthy(host, port, "/readyz")
        )

    def _workers(self) -> Iterator[Child]:
        concurrency = str(self._plan.concurrency)
        for k in range(1, self._plan.workers + 1):
            name = f"run-{k}"
            yield self.child(name, ["worker", "--name", name, "--concurrency", concurrency])
        for name in ("control", "alone"):
            yield self.child(name, ["worker", f"--{name}", "--name", name])

    def _start_broker(self) -> None:
        self._broker = BrokerServer(self.data_dir, port=self._plan.broker_port)
        self._broker.start()
        self.supervisor.attach(self._broker.child)
        self.settings = self.settings.model_copy(update={"broker_url": self._broker.url})

    def close(self) -> None:
        """Gives the broker's folder back, once the supervisor has stopped what ran."""
        if self._broker:
            self._broker.stop()

    def _prepare_store(self) -> None:
        # A folder that was there before may be open to others; the store in it is not.
        mask = os.umask(0o077)
        try:
            migrate(self.settings)
            ensure_default_workspace(self.settings)
        except (SQLAlchemyError, UnderstudyError, OSError) as problem:
            store = make_url(self.settings.store_url).render_as_string(hide_password=True)
            raise StackStartError(f"the store {store} can't be prepared: {problem}") from problem
        finally:
            os.umask(mask)

    def _flower(self) -> Child:
        if not self.flower_password_file.exists():
            write_private(self.flower_password_file, secrets.token_urlsafe(18) + "\n")
        password = self.flower_password_file.read_text().strip()
        options = {
            "address": _LOOPBACK,
            "port": self._flower_port,
            "db": self.data_dir / "flower.db",
        } | FLOWER_OPTIONS
        return Child(
            "flower",
            [
                *(sys.executable, "-P", "-m", "celery", "--app", "understudy.worker.app", "flower"),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            log=self.logs / "flower.log",
            run_dir=self._run_dir,
            # By environment: every user of the machine can read a command line.
            env=self._environment() | {"FLOWER_BASIC_AUTH": f"understudy:{password}"},
            # Celery looks for `worker`, and Flower for a file of options, in the current folder first.
            cwd=self._run_dir,
            ready=lambda: is_healthy(_LOOPBACK, self._flower_port, "/healthcheck"),
        )

    def _environment(self) -> dict[str, str]:
        """The caller's environment with the settings in it, whether they came from there or from code."""
        given = self.settings.model_dump(mode="json", exclude_unset=True)
        named = {
            f"UNDERSTUDY_{name.upper()}": str(value) for name, value in given.items() if value is not None
        }
        return dict(os.environ) | named


@contextlib.contextmanager
def run_stack(settings: Settings, plan: StackPlan, say: Callable[[str], None]) -> Iterator[Stack]:
    """A started stack on `settings.data_dir`, which belongs to it alone; stopped, in order, when the block is
    left.

    Raises FolderTaken if another stack runs on the folder (nothing is touched then), else as `Stack.start`.
    Only in the main thread.
    """
    data_dir = settings.data_dir.absolute()
    with contextlib.ExitStack() as held:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            held.enter_context(DataDirLock(data_dir / "up.lock"))
        except OSError as problem:
            raise StackStartError(f"can't use {data_dir} as data folder: {problem.strerror}") from problem
        supervisor = Supervisor(log=say)
        stack = Stack(settings, plan, supervisor)
        # Left in reverse: the supervisor stops what runs, the broker gives its folder back, the lock goes.
        held.callback(stack.close)
        held.enter_context(supervisor)
        stack.start()
        yield stack


def _resolve_port(what: str, option: str, host: str, port: int) -> int:
    """`port`, or a free one for 0. StackFailed if it can't be had."""
    try:
        if port:
            check_port(host, port)
        return port or free_port(host)
    except OSError as problem:
        wanted = f"port {port}" if port else "a port"
        raise StackStartError(
            f"{what} can't have {wanted} on {host!r}: {problem.strerror}; choose another one with {option}"
        ) from problem
