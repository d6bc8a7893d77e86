"""A worker process: a Celery worker with everything its runs need around it."""

import logging
import socket
import time
from pathlib import Path
from typing import Any, Literal

from celery import Celery
from celery.signals import setup_logging, worker_ready

from understudy import faults, gc_tuning
from understudy.domain.queues import QUEUE_PRIORITY, Queue
from understudy.models.quotas import quotas
from understudy.plugins import registry
from understudy.plugins.secrets import InvalidSecretsFile, Secrets
from understudy.queue.celery import channel, flower_events
from understudy.queue.celery.app import create_celery
from understudy.queue.celery.control_commands import install_control_commands
from understudy.queue.celery.pool import create_pool
from understudy.queue.celery.worker import worker_class
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import Publisher
from understudy.settings import Settings
from understudy.store.engine import WORKER_IDLE_TIMEOUT_S, Store
from understudy.telemetry import logs, metrics, traces
from understudy.telemetry.exporter import MetricsExporter, start_metrics_server
from understudy.telemetry.store_metrics import StoreMetrics
from understudy.worker import tasks
from understudy.worker.committer import Committer
from understudy.worker.heartbeat import LeaseKeeper
from understudy.worker.operator_commands import OperatorCommands
from understudy.worker.run import WorkerContext
from understudy.worker.runner import Runner
from understudy.worker.shutdown import ShutdownSignal
from understudy.worker.watchdog import Watchdog

log = logging.getLogger(__name__)

Kind = Literal["run", "control", "alone"]

#: What each kind consumes, the most urgent queue first.
QUEUES: dict[Kind, tuple[Queue, ...]] = {
    "run": QUEUE_PRIORITY,
    "alone": (Queue.QUARANTINE,),
    "control": (Queue.CONTROL,),
}
#: Threads of a control worker: stop tasks are short.
CONTROL_CONCURRENCY = 4
#: How long a process that is to go waits for a store that is away, once all its steps are cut.
STORE_RETRY_WINDOW_S = 5
#: And for everything else to end, after that.
SHUTDOWN_TIMEOUT_S = 10


def run_worker(
    settings: Settings, *, name: str, kind: Kind, concurrency: int, ready_file: Path | None = None
) -> None:
    """Work until SIGTERM or SIGINT, then drain; returns when everything is given back.

    `ready_file` is made once messages are consumed.
    """
    faults.arm(settings.faults)
    name = f"{name}@{socket.gethostname()}"
    logs.configure(settings, part="worker", name=name)
    # Celery leaves logging alone when somebody else sets it up.
    setup_logging.connect(lambda **_: None, weak=False)
    traces.configure(settings, "worker")
    exposition = start_metrics_server(settings, "worker")
    app = create_celery(settings.broker_url)
    store = Store(settings.store_url, idle_timeout_s=WORKER_IDLE_TIMEOUT_S, observer=StoreMetrics())
    if ready_file is not None:
        worker_ready.connect(lambda **_: ready_file.touch(), weak=False)
    try:
        if kind == "control":
            _run_control_worker(settings, app, store, name)
        else:
            concurrency = 1 if kind == "alone" else concurrency
            _run_simulation_worker(
                settings, app, store, exposition, name=name, kind=kind, concurrency=concurrency
            )
    except InvalidSecretsFile as error:
        raise SystemExit(f"understudy worker: {error}") from None
    finally:
        store.dispose()
        traces.close()


def _run_control_worker(settings: Settings, app: Celery, store: Store, name: str) -> None:
    notifier = Notifier(settings.notifications_url)
    tasks.register_stop(app, store)
    leaving = ShutdownSignal()
    leaving.on_request(timeout_s=SHUTDOWN_TIMEOUT_S)
    orders = OperatorCommands(store, notifier, lambda _: None)
    install_control_commands(orders.cancel, leaving.request)
    channel.install_channel()
    try:
        _consume(app, leaving, name, "control", CONTROL_CONCURRENCY, "threads")
    finally:
        orders.close()
        notifier.close()


def _run_simulation_worker(
    settings: Settings,
    app: Celery,
    store: Store,
    exposition: MetricsExporter,
    *,
    name: str,
    kind: Kind,
    concurrency: int,
) -> None:
    secrets = Secrets.load(settings.secrets_file)
    quotas.configure(settings.notifications_url, store)
    committer = Committer(store)
    publisher = Publisher(app, store)
    notifier = Notifier(settings.notifications_url)
    keeper = LeaseKeeper(
        store,
        name,
        ttl_s=settings.lease_ttl_s,
        interval_s=settings.heartbeat_interval_s,
    )
    leaving = ShutdownSignal()
    house = WorkerContext(
        committer,
        lambda: keeper.worker_id,
        lambda: leaving.is_requested,
        settings.allow_private_hosts,
        quarantine=kind == "alone",
        secrets=secrets,
    )
    runner = Runner(house, publisher, notifier)
    exposition.gauges = lambda: metrics.worker_gauges(
        kind, concurrency, len(runner.claims()), keeper.lease_valid_until - time.monotonic()
    )
    keeper.start(runner)
    watch = Watchdog(
        store,
        keeper,
        runner,
        leaving.request,
        loop_stall_s=settings.loop_stall_s,
        max_memory_mb=settings.max_memory_mb,
    )
    work = tasks.register_run(app, runner, lambda: leaving.is_requested, lambda: keeper.is_store_reachable)
    orders = OperatorCommands(store, notifier, runner.abort)
    install_control_commands(orders.cancel, leaving.request)

    def drain() -> None:
        # Runs stop at their next interaction; what takes longer than the grace is cut, and given back too.
        time.sleep(settings.drain_grace_s)
        runner.abort_all()
        time.sleep(STORE_RETRY_WINDOW_S)
        committer.stop_retrying()

    leaving.on_request(drain, timeout_s=SHUTDOWN_TIMEOUT_S)
    channel.install_channel(lambda: keeper.is_store_reachable)
    # Looked for here, as the loop of the runs would stand still for it at the first claim.
    log.info("worker %s has %s", name, registry.describe_plugins())
    try:
        _consume(app, leaving, name, kind, concurrency, create_pool(work, runner.submit))
    finally:
        leaving.is_requested = True
        orders.close()
        watch.close()
        runner.close()
        keeper.close()
        committer.close()
        publisher.close()
        notifier.close()


def _consume(
    app: Celery, leaving: ShutdownSignal, name: str, kind: Kind, concurrency: int, pool: Any
) -> None:
    flower_events.install(app)
    worker = worker_class(app, leaving.install)(
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
