"""Starts all components of Understudy on one machine."""

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

from understudy.deploy.bootstrap import ensure_default_workspace, expire_embedded_leases
from understudy.deploy.broker import BrokerServer
from understudy.deploy.child import Child, kill_orphan
from understudy.deploy.lock import DataDirLock
from understudy.deploy.migrate import migrate
from understudy.deploy.owner_only_files import write_private
from understudy.deploy.ports import check_port, free_port, http_url, is_healthy, is_ready, reachable_host, read_port
from understudy.deploy.supervisor import Supervisor
from understudy.domain.addresses import is_loopback
from understudy.domain.errors import UnderstudyError
from understudy.settings import Settings
from understudy.store.free_space import check_free_space

_LOOPBACK = "127.0.0.1"
#: Time for all components to become ready: a base and an amount per worker, because the workers of a small
#: machine start one after another.
_READY_TIMEOUT_S = 60
_READY_TIMEOUT_PER_WORKER_S = 5

#: Options of Flower; compose, Kubernetes and systemd use the same ones.
FLOWER_OPTIONS = {
    "persistent": True,
    # In ms. Otherwise Flower saves its state only at an ordered end.
    "state_save_interval": 60_000,
    # Each task uses some kB of memory, and Flower blocks while it saves all of them.
    "max_tasks": 20_000,
    # In s. Otherwise the list grows without bound if every worker has a unique name.
    "purge_offline_workers": 3600,
    # The default omits the arguments, which name participant and study, and how a run ended.
    "tasks_columns": "name,args,state,exception,result,received,runtime,worker,uuid",
}


class StackStartError(Exception):
    """The stack cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """Components to run. Port 0 selects a free port."""

    host: str = _LOOPBACK
    port: int = 8000
    #: Run workers. 0: this machine runs no worker at all, not even control and quarantine worker.
    workers: int = 1
    #: Concurrent simulations of each run worker.
    concurrency: int = 100
    flower: bool = True
    flower_port: int = 0
    broker_port: int = 0


class Stack:
    """The components of one machine on one data folder. Created by `run_stack`."""

    def __init__(self, settings: Settings, plan: StackPlan, supervisor: Supervisor, log: Callable[[str], None]) -> None:
        self._plan = plan
        self._log = log
        self._broker: BrokerServer | None = None
        self.supervisor = supervisor
        self.data_dir = settings.data_dir.absolute()
        self.logs = self.data_dir / "logs"
        self._run_dir = self.data_dir / "run"
        explicit = settings.model_fields_set
        #: Participants visit no private addresses because others reach the API, not by a setting.
        self.hides_private_hosts = "allow_private_hosts" not in explicit and not is_loopback(plan.host)
        #: Settings of the components: the explicit ones and defaults for a single machine.
        self.settings = settings.model_copy(
            update={
                "data_dir": self.data_dir,
                # First simulations usually visit a site on the user's own machine.
                "allow_private_hosts": settings.allow_private_hosts
                if "allow_private_hosts" in explicit
                else str(not self.hides_private_hosts).lower(),
                # First receivers of webhooks are on the user's own machine also.
                "webhook_networks": _webhook_networks(settings, plan.host),
                # People read the logs of a single machine.
                "log_format": settings.log_format if "log_format" in explicit else "text",
            }
        )
        self._own_broker = "broker_url" not in explicit or not settings.broker_url
        self._port = plan.port
        self._flower_port = plan.flower_port
        #: Each component except the API serves its metrics on its own port, counted from this one.
        self._metrics_ports = itertools.count(settings.metrics_port or 0)

    @property
    def url(self) -> str:
        """Returns the URL of the API with the configured host."""
        return http_url(self._plan.host, self._port)

    @property
    def local_url(self) -> str:
        """Returns the local URL of the API; the command line reads it from `data_dir/server`."""
        return http_url(reachable_host(self._plan.host), self._port)

    @property
    def flower_url(self) -> str | None:
        """Returns the URL of Flower; None if the plan excludes it."""
        return f"http://{_LOOPBACK}:{self._flower_port}" if self._plan.flower else None

    @property
    def token_file(self) -> Path:
        return self.data_dir / "token"

    @property
    def flower_password_file(self) -> Path:
        return self.data_dir / "flower-password"

    def start(self) -> None:
        """Starts all components and returns when the API answers and the workers consume messages.

        Raises StackStartError, BrokerFailed, ChildFailed or StopRequested. The caller must then stop the
        components that already run.
        """
        self._port = _resolve_port("the API", "--port", self._plan.host, self._plan.port)
        if self._plan.flower:
            self._flower_port = self.resolve_flower_port()
        for folder in (self.logs, self._run_dir):
            folder.mkdir(mode=0o700, exist_ok=True)
        for pid_file in self._run_dir.glob("*.pid"):
            # Orphans of a killed supervisor; on Linux they died with it. BrokerServer handles its own.
            if pid_file.stem != "broker":
                kill_orphan(pid_file)
        if self._own_broker:
            self._start_broker()
        self._prepare_store()
        self.supervisor.start(self._api())
        if self._plan.workers:
            self.supervisor.start(*self._workers())
        self.supervisor.start(self.child("sweeper", ["sweeper"]))
        self.supervisor.start(self.child("webhooks", ["webhooks"]))
        if self._plan.flower:
            self.supervisor.start(self._flower())
        self.supervisor.wait_ready(_READY_TIMEOUT_S + _READY_TIMEOUT_PER_WORKER_S * self._plan.workers)
        write_private(self.data_dir / "server", self.local_url + "\n")

    def resolve_flower_port(self) -> int:
        """Returns the port of the plan; without one that of the last time, if it is free, or else a free one."""
        file = self.data_dir / "flower-port"
        last_port = read_port(file)
        if not self._plan.flower_port and last_port:
            with contextlib.suppress(OSError):
                # The API has its port already, but does not listen yet.
                if last_port != self._port:
                    check_port(_LOOPBACK, last_port)
                    return last_port
            self._log(f"port {last_port}, which Flower had before, is taken: it gets another one")
        port = _resolve_port("Flower", "--flower-port", _LOOPBACK, self._plan.flower_port)
        write_private(file, f"{port}\n")
        return port

    def child(
        self, name: str, command: Sequence[str], ready: Callable[[], bool] | None = None, *, calls_models: bool = False
    ) -> Child:
        """Returns a child for `understudy <command>`; without `ready` it reports by `--ready-file`."""
        ready_file = None if ready else self._run_dir / f"{name}.ready"
        return Child(
            name,
            # -P: the current folder must not shadow Python modules.
            [
                *(sys.executable, "-P", "-m", "understudy.deploy.main", *command),
                *(("--ready-file", str(ready_file), *self._metrics_port()) if ready_file else ()),
            ],
            log=self.logs / f"{name}.log",
            run_dir=self._run_dir,
            env=self._environment(),
            ready=ready,
            ready_file=ready_file,
            calls_models=calls_models,
        )

    def _metrics_port(self) -> Sequence[str]:
        first_port = self.settings.metrics_port
        if first_port is None:
            return ()
        return ("--metrics-port", str(next(self._metrics_ports) if first_port else 0))

    def _api(self) -> Child:
        host, port = self._plan.host, self._port
        return self.child("api", ["api", "--host", host, "--port", str(port)], lambda: is_ready(host, port))

    def _workers(self) -> Iterator[Child]:
        concurrency = str(self._plan.concurrency)
        for k in range(1, self._plan.workers + 1):
            name = f"run-{k}"
            yield self.child(name, ["worker", "--name", name, "--concurrency", concurrency], calls_models=True)
        yield self.child("control", ["worker", "--control", "--name", "control"])
        yield self.child("alone", ["worker", "--alone", "--name", "alone"], calls_models=True)

    def _start_broker(self) -> None:
        self._broker = BrokerServer(self.data_dir, port=self._plan.broker_port)
        self._broker.start()
        self.supervisor.attach(self._broker.child)
        self.settings = self.settings.model_copy(update={"broker_url": self._broker.url})

    def close(self) -> None:
        """Releases the broker's folder. Call it after the supervisor has stopped the components."""
        if self._broker:
            self._broker.stop()

    def _prepare_store(self) -> None:
        # An existing folder may be readable by other users; the store in it must not be.
        mask = os.umask(0o077)
        try:
            check_free_space(make_url(self.settings.store_url))
            migrate(self.settings)
            ensure_default_workspace(self.settings)
            if self._plan.workers:
                expire_embedded_leases(self.settings)
        except (SQLAlchemyError, UnderstudyError, OSError) as problem:
            store = make_url(self.settings.store_url).render_as_string(hide_password=True)
            raise StackStartError(f"can't prepare the store {store}: {problem}") from problem
        finally:
            os.umask(mask)

    def _flower(self) -> Child:
        if not self.flower_password_file.exists():
            write_private(self.flower_password_file, secrets.token_urlsafe(18) + "\n")
        password = self.flower_password_file.read_text().strip()
        options = {"address": _LOOPBACK, "port": self._flower_port, "db": self.data_dir / "flower.db"} | FLOWER_OPTIONS
        return Child(
            "flower",
            [
                *(sys.executable, "-P", "-m", "celery", "--app", "understudy.worker.app", "flower"),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            log=self.logs / "flower.log",
            run_dir=self._run_dir,
            # In the environment, because every user of the machine can read a command line.
            env=self._environment() | {"FLOWER_BASIC_AUTH": f"understudy:{password}"},
            # Celery searches modules, and Flower its options file, in the current folder first.
            cwd=self._run_dir,
            ready=lambda: is_healthy(_LOOPBACK, self._flower_port, "/healthcheck"),
        )

    def _environment(self) -> dict[str, str]:
        """Returns the caller's environment plus all explicit settings, from environment or code."""
        values = self.settings.model_dump(mode="json", exclude_unset=True)
        variables = {f"UNDERSTUDY_{name.upper()}": str(value) for name, value in values.items() if value is not None}
        return dict(os.environ) | variables


@contextlib.contextmanager
def run_stack(settings: Settings, plan: StackPlan, log: Callable[[str], None]) -> Iterator[Stack]:
    """Runs a stack on `settings.data_dir` with exclusive use of the folder; stops it at the block's end.

    Raises DataDirLocked and changes nothing if another stack runs on the folder; otherwise raises as
    `Stack.start`. Call it only in the main thread.
    """
    data_dir = settings.data_dir.absolute()
    with contextlib.ExitStack() as resources:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            resources.enter_context(DataDirLock(data_dir / "up.lock"))
        except OSError as problem:
            raise StackStartError(f"can't use {data_dir} as data folder: {problem.strerror}") from problem
        supervisor = Supervisor(log=log)
        stack = Stack(settings, plan, supervisor, log)
        # Order of the cleanup: stop the components, release the broker's folder, free the lock.
        resources.callback(stack.close)
        resources.enter_context(supervisor)
        stack.start()
        yield stack


def _webhook_networks(settings: Settings, host: str) -> str:
    """Returns the networks of receivers; if only this machine reaches the API, its own are among them."""
    if "webhook_networks" in settings.model_fields_set or not is_loopback(host):
        return settings.webhook_networks
    return f"{settings.webhook_networks},loopback"


def _resolve_port(component: str, option: str, host: str, port: int) -> int:
    """Returns `port`, or a free port for 0. Raises StackStartError if it cannot be bound."""
    try:
        if port:
            check_port(host, port)
        return port or free_port(host)
    except OSError as problem:
        wanted = f"port {port}" if port else "a port"
        raise StackStartError(
            f"{component} can't bind {wanted} on {host!r}: {problem.strerror}; pass another one with {option}"
        ) from problem
