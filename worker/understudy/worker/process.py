"""A worker process: a Celery worker and the components that its runs need."""

import logging
import socket
import time
from pathlib import Path
from typing import Any, Literal

from celery import Celery
from celery.signals import setup_logging, worker_ready

from understudy import faults, gc_tuning
from understudy.domain.queues import QUEUE_PRIORITY, Queue, WorkerKind
from understudy.environments.guarded_transport import tls_context
from understudy.models.quotas import quotas
from understudy.plugins import registry
from understudy.plugins.secrets import InvalidSecretsFile, Secrets
from understudy.queue.celery import channel, flower_events
from understudy.queue.celery.app import create_celery
from understudy.queue.celery.control_commands import install_control_commands
from understudy.queue.celery.pool import create_pool
from understudy.queue.celery.result_backend import install_state_command
from understudy.queue.celery.thread_pool import ThreadPool
from understudy.queue.celery.worker import worker_class
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import Publisher
from understudy.settings import Settings
from understudy.store.engine import WORKER_IDLE_TIMEOUT_S, Store
from understudy.store.free_space import log_if_full
from understudy.telemetry import logs, metrics, traces
from understudy.telemetry.exporter import MetricsExporter, start_metrics_server
from understudy.telemetry.store_metrics import StoreMetrics
from understudy.worker import tasks
from understudy.worker.committer import Committer
from understudy.worker.heartbeat import LeaseKeeper, NoRuns
from understudy.worker.operator_commands import OperatorCommands
from understudy.worker.runner import Runner
from understudy.worker.shutdown import ShutdownSignal
from understudy.worker.task_states import read_state
from understudy.worker.watchdog import Watchdog
from understudy.worker.worker_context import WorkerContext

log = logging.getLogger(__name__)

Kind = Literal["run", "control", "alone"]

#: Queues of each worker kind, highest priority first.
QUEUES: dict[Kind, tuple[Queue, ...]] = {
    "run": QUEUE_PRIORITY,
    "alone": (Queue.QUARANTINE,),
    "control": (Queue.CONTROL,),
}
#: Threads of a control worker: stop tasks are short.
CONTROL_CONCURRENCY = 4
#: Seconds that a shutdown keeps retrying an unavailable store after it has aborted all steps.
STORE_RETRY_WINDOW_S = 5
#: Seconds after that until a forced exit.
SHUTDOWN_TIMEOUT_S = 10


def effective_concurrency(kind: Kind, concurrency: int) -> int:
    """Returns how many messages a worker of this kind handles at a time; only run workers have a choice."""
    return {"run": concurrency, "alone": 1, "control": CONTROL_CONCURRENCY}[kind]


def run_worker(settings: Settings, *, name: str, kind: Kind, concurrency: int, ready_file: Path | None = None) -> None:
    """Runs a worker until SIGTERM or SIGINT, drains it, and returns when all participants are released.

    Creates `ready_file` when it starts to consume messages.
    """
    faults.arm(settings.faults)
    name = f"{name}@{socket.gethostname()}"
    logs.configure(settings, part="worker", name=name)
    # A receiver of this signal stops Celery from configuring logging.
    setup_logging.connect(lambda **_: None, weak=False)
    traces.configure(settings, "worker")
    exporter = start_metrics_server(settings, "worker")
    app = create_celery(settings.broker_url)
    store = Store(settings.store_url, idle_timeout_s=WORKER_IDLE_TIMEOUT_S, observer=StoreMetrics())
    log_if_full(store.url)
    if ready_file is not None:
        worker_ready.connect(lambda **_: ready_file.touch(), weak=False)
    try:
        if kind == "control":
            _run_control_worker(settings, app, store, name, concurrency)
        else:
            _run_simulation_worker(settings, app, store, exporter, name=name, kind=kind, concurrency=concurrency)
    except InvalidSecretsFile as error:
        raise SystemExit(f"understudy worker: {error}") from None
    finally:
        store.dispose()
        traces.close()


def _run_control_worker(settings: Settings, app: Celery, store: Store, name: str, concurrency: int) -> None:
    notifier = Notifier(settings.notifications_url)
    tasks.register_stop(app, store)
    shutdown = ShutdownSignal()
    shutdown.on_request(timeout_s=SHUTDOWN_TIMEOUT_S)
    commands = OperatorCommands(store, notifier, lambda _: None)
    install_control_commands(commands.cancel, shutdown.request)
    install_state_command(lambda id_: read_state(store, id_))
    channel.install_channel()
    # No claim uses this lease; it shows callers that a control worker is alive.
    keeper = _lease_keeper(settings, store, name, "control", concurrency)
    keeper.start(NoRuns())
    try:
        _consume(app, shutdown, name, "control", concurrency, ThreadPool)
    finally:
        commands.close()
        keeper.close()
        notifier.close()


def _lease_keeper(settings: Settings, store: Store, name: str, kind: Kind, slots: int) -> LeaseKeeper:
    return LeaseKeeper(
        store,
        name,
        ttl_s=settings.lease_ttl_s,
        interval_s=settings.heartbeat_interval_s,
        kind=WorkerKind(kind),
        slots=slots,
    )


def _run_simulation_worker(
    settings: Settings,
    app: Celery,
    store: Store,
    exporter: MetricsExporter,
    *,
    name: str,
    kind: Kind,
    concurrency: int,
) -> None:
    secrets = Secrets.load(settings.secrets_file)
    quotas.configure(settings.notifications_url, store)
    committer = Committer(store)
    publisher = Publisher(app, store, settings.default_limits)
    notifier = Notifier(settings.notifications_url)
    keeper = _lease_keeper(settings, store, name, kind, concurrency)
    shutdown = ShutdownSignal()
    context = WorkerContext(
        committer,
        lambda: keeper.worker_id,
        lambda: shutdown.is_requested,
        settings.allowed_addresses,
        quarantine=kind == "alone",
        secrets=secrets,
        max_attempts=settings.max_attempts,
        count_runs=lambda: len(runner.claims()),
    )
    runner = Runner(context, publisher, notifier)
    exporter.gauges = lambda: metrics.worker_gauges(
        kind, concurrency, len(runner.claims()), keeper.lease_valid_until - time.monotonic()
    )
    keeper.start(runner)
    watchdog = Watchdog(
        store,
        keeper,
        runner,
        shutdown.request,
        loop_stall_s=settings.loop_stall_s,
        max_memory_mb=settings.max_memory_mb,
    )
    work = tasks.register_run(app, runner, lambda: shutdown.is_requested, lambda: keeper.is_store_reachable)
    commands = OperatorCommands(store, notifier, runner.abort)
    install_control_commands(commands.cancel, shutdown.request)
    # A control worker answers: a slow store must not keep this one from its messages.
    install_state_command(lambda _: None)

    def drain() -> None:
        # Runs are released at their next interaction, or when the grace period ends and aborts their steps.
        time.sleep(settings.drain_grace_s)
        runner.abort_all()
        time.sleep(STORE_RETRY_WINDOW_S)
        committer.stop_retrying()

    shutdown.on_request(drain, timeout_s=SHUTDOWN_TIMEOUT_S)

    def may_take() -> bool:
        return keeper.is_store_reachable and not shutdown.is_requested

    channel.install_channel(may_take)
    # Finds the plug-ins and reads the certificates before the first claim, because both would block the event loop.
    tls_context()
    log.info("worker %s has plug-ins: %s", name, registry.describe_plugins())
    try:
        _consume(app, shutdown, name, kind, concurrency, create_pool(work, runner.submit, may_take))
    finally:
        shutdown.is_requested = True
        commands.close()
        watchdog.close()
        runner.close()
        keeper.close()
        committer.close()
        publisher.close()
        notifier.close()


def _consume(app: Celery, shutdown: ShutdownSignal, name: str, kind: Kind, concurrency: int, pool: Any) -> None:
    flower_events.install(app)
    worker = worker_class(app, shutdown.install)(
        hostname=name,
        pool=pool,
        concurrency=concurrency,
        queues=[str(queue) for queue in QUEUES[kind]],
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        redirect_stdouts=False,
        quiet=True,
    )
    gc_tuning.freeze_gc_objects()
    worker.start()
    log.info("worker %s has stopped", name)
