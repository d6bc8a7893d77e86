"""Defines every metric: name, help, labels, buckets, and the components that expose it.

The functions below update counters and histograms; gauges are read at each scrape. Names carry their unit.
Labels have few values, never a workspace, study or participant.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

from prometheus_client import Histogram

from understudy.domain.lifecycle import FailureKind, Outcome, Status
from understudy.domain.queues import Queue, WorkerKind
from understudy.telemetry import webhook_metrics  # noqa: F401 - declares more metrics
from understudy.telemetry.exporter import (
    MAX_LABEL_VALUES,
    CallbackGauge,
    Component,
    Family,
    bounded,
    counter,
    histogram,
)

#: Buckets in seconds.
_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_SLOW_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_EVERYWHERE: tuple[Component, ...] = ("api", "worker", "sweeper")
_STORE_USERS: tuple[Component, ...] = (*_EVERYWHERE, "webhooks")

# -- store and queue contents ------------------------------------------------------------------------------

participants = CallbackGauge(
    "understudy_participants",
    "Participants by status; pending and running are current, other statuses are from the last count.",
    "api",
    status=tuple(Status),
)
oldest_pending = CallbackGauge(
    "understudy_oldest_pending_seconds",
    "Age in seconds of the oldest pending participant that is not paused; 0 if none.",
    "api",
)
unpublished_messages = CallbackGauge("understudy_owed_messages", "Pending participants without a run message.", "api")
workers = CallbackGauge("understudy_workers", "Processes with a live lease that run simulations.", "api")
workers_by_kind = CallbackGauge(
    "understudy_workers_by_kind", "Processes with a live lease by worker kind.", "api", kind=tuple(WorkerKind)
)
queue_messages = CallbackGauge(
    "understudy_queue_messages", "Messages waiting in a queue of the broker.", "api", queue=tuple(Queue)
)
store_up = CallbackGauge("understudy_store_up", "1 if the store answered this scrape, else 0.", "api")
broker_up = CallbackGauge("understudy_broker_up", "1 if the broker answered this scrape, else 0.", "api")

# -- requests ----------------------------------------------------------------------------------------------

waiters = CallbackGauge("understudy_waiters", "Waiting calls in this process.", "api")
awaited_participants = CallbackGauge("understudy_waited_for", "Participants awaited in this process.", "api")
event_streams = CallbackGauge("understudy_event_streams", "Open event streams in this process.", "api")
requests = counter(
    "understudy_http_requests_total",
    "Answered requests by route and status; 499 if the client disconnected first.",
    "api",
    route=(),
    status=(),
)
request_seconds = histogram(
    "understudy_http_request_seconds",
    "Time from a request to the start of its response, waits included.",
    _QUICK_S,
    "api",
    route=(),
)
cancel_seconds = histogram(
    "understudy_cancel_seconds", "Time from a simulation_cancel to its envelope.", _QUICK_S, "api"
)

# -- runs --------------------------------------------------------------------------------------------------

_KINDS = ("run", "alone")
run_slots = CallbackGauge("understudy_run_slots", "Slots of this process by worker kind.", "worker", kind=_KINDS)
active_runs = CallbackGauge("understudy_runs", "Runs in this process by worker kind.", "worker", kind=_KINDS)
lease_seconds = CallbackGauge(
    "understudy_lease_seconds", "Seconds until this process's lease expires; negative once expired.", "worker"
)
claims = counter(
    "understudy_claims_total",
    "Run messages received: claimed; dropped (nothing to claim); refused (no lease).",
    "worker",
    result=("claimed", "dropped", "refused"),
)
foreign_messages = counter(
    "understudy_foreign_messages_total",
    "Messages dropped because no version of Understudy sends them, by where they came from.",
    "worker",
    source=("queue", "broadcast"),
)
commits = counter(
    "understudy_commits_total",
    "Interactions stored, and refused after a cancel or a claim by another worker.",
    "worker",
    result=("stored", "refused"),
)
_stored, _refused = commits.labels("stored"), commits.labels("refused")
transaction_writes = histogram(
    "understudy_transaction_writes",
    "Writes of runs in one transaction (group commit).",
    (1, 2, 4, 8, 16, 32, 64, 128),
    "worker",
)
step_seconds = histogram(
    "understudy_step_seconds",
    "Duration of steps that ended in time: observe, decide, act.",
    _SLOW_S,
    "worker",
    environment=(),
    mind=(),
)
runs = counter(
    "understudy_runs_total",
    "Runs by how they left this process: ended; released; stopped (cancelled, or claimed by another worker); "
    "unknown (store unavailable).",
    "worker",
    ending=("ended", "released", "stopped", "unknown"),
)
participants_ended = counter(
    "understudy_participants_ended_total",
    "Participants that became terminal in this process; reason is the outcome or the error_kind.",
    *_EVERYWHERE,
    status=(),
    reason=(),
)
for _status, _reasons in {
    Status.COMPLETED: ("", *Outcome),
    Status.FAILED: tuple(FailureKind),
    Status.CANCELLED: ("",),
}.items():
    for _reason in _reasons:
        participants_ended.labels(str(_status), str(_reason))
abort_seconds = histogram(
    "understudy_abort_seconds",
    "Time from the commit of a cancel to the abort of the step in flight.",
    _QUICK_S,
    "worker",
)
stop_seconds = histogram(
    "understudy_stop_seconds",
    "Time from the commit of a cancel to the stop record, by its writer: the run; the stop task or the "
    "sweeper if no worker ran it.",
    _QUICK_S,
    "worker",
    "sweeper",
    by=("run", "stop_task", "sweeper"),
)
leases_lost = counter(
    "understudy_leases_lost_total",
    "Leases that expired in a live process, which aborted its steps.",
    "worker",
)

# -- recovery ----------------------------------------------------------------------------------------------

recovered = counter(
    "understudy_recovered_total",
    "Participants recovered from lost workers: resumed, or failed at the last attempt.",
    "sweeper",
    result=("resumed", "failed"),
)
republished = counter(
    "understudy_republished_total",
    "Lost run messages republished, by queue.",
    "sweeper",
    queue=tuple(queue for queue in Queue if queue is not Queue.CONTROL),
)
_SWEEPS = ("recover", "positions", "publish", "retention")
sweeps = counter(
    "understudy_sweeps_total",
    "Sweeps by work and result.",
    "sweeper",
    work=_SWEEPS,
    result=("done", "failed"),
)
last_sweep = CallbackGauge(
    "understudy_last_sweep_timestamp_seconds",
    "Unix time of the last completed sweep; 0 if none yet.",
    "sweeper",
    work=_SWEEPS,
)
_last_sweep = dict.fromkeys(_SWEEPS, 0.0)

# -- store and broker --------------------------------------------------------------------------------------

store_seconds = histogram(
    "understudy_store_seconds",
    "Duration of store transactions, waits for a connection and for locks included.",
    _QUICK_S,
    *_STORE_USERS,
    kind=("read", "write"),
)
store_errors = counter(
    "understudy_store_errors_total",
    "Transactions that failed because the store was unavailable (away), or lost a race and were retried.",
    *_STORE_USERS,
    kind=("away", "race"),
)
_BROKER_WORK = ("run_message", "stop_task", "abort", "notice", "look")
broker_seconds = histogram(
    "understudy_broker_seconds",
    "Duration of broker operations; run messages and stop tasks are sent in batches of up to 200.",
    _QUICK_S,
    *_EVERYWHERE,
    work=_BROKER_WORK,
)
broker_errors = counter(
    "understudy_broker_errors_total",
    "Failed broker operations; each is retried or covered by polling.",
    *_EVERYWHERE,
    work=_BROKER_WORK,
)

# -- language models ---------------------------------------------------------------------------------------

llm_calls = counter("understudy_llm_calls_total", "Language model calls by result.", "worker", model=(), result=())
_LLM_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
llm_seconds = histogram(
    "understudy_llm_seconds", "Duration of answered language model calls.", _LLM_S, "worker", model=()
)
llm_tokens = counter(
    "understudy_llm_tokens_total",
    "Tokens that models read and wrote.",
    "worker",
    model=(),
    kind=("input", "output"),
)
llm_cost = counter("understudy_llm_cost_total", "Cost of calls to models with prices.", "worker", model=())

LlmResult = Literal["answered", "rate_limited", "failed", "timeout", "aborted"]


def observe_llm_call(model: str, result: LlmResult, seconds: float) -> None:
    """Counts a language model call and its duration; each retry counts as a call."""
    model = bounded("model", model)
    llm_calls.labels(model, result).inc()
    if result == "answered":
        llm_seconds.labels(model).observe(seconds)


def count_llm_usage(model: str, *, input_tokens: int, output_tokens: int, cost: float | None) -> None:
    """Counts the tokens and the cost of an answered call; `cost` is None without prices."""
    model = bounded("model", model)
    llm_cost.labels(model).inc(cost or 0)
    llm_tokens.labels(model, "input").inc(input_tokens)
    llm_tokens.labels(model, "output").inc(output_tokens)


# -- updates -----------------------------------------------------------------------------------------------


def count_run_message(ending: str) -> None:
    """Counts a run message by `ending`, a value of understudy.worker.run.RunResult."""
    if ending in {"dropped", "refused"}:
        claims.labels(ending).inc()
    else:
        claims.labels("claimed").inc()
        runs.labels(ending).inc()


def observe_step(environment: str, mind: str, seconds: float) -> None:
    """Records the duration of a step that ended in time."""
    _step_series(environment, mind).observe(seconds)


@lru_cache(MAX_LABEL_VALUES**2)
def _step_series(environment: str, mind: str) -> Histogram:
    # Cached: finding the series takes longer than the update.
    return step_seconds.labels(bounded("environment", environment), bounded("mind", mind))


def count_ended(status: Status, reason: str | None = None, count: int = 1) -> None:
    """Counts participants that became terminal."""
    participants_ended.labels(status, reason or "").inc(count)


@contextlib.contextmanager
def time_cancel() -> Iterator[None]:
    """Times the cancel in this block; does not count one that raises."""
    began = time.perf_counter()
    yield
    cancel_seconds.observe(time.perf_counter() - began)


def observe_stops(by: str, after_s: Iterable[float]) -> None:
    """Records stop records by their writer, with the seconds since each cancel."""
    for seconds in after_s:
        stop_seconds.labels(by).observe(seconds)


def observe_run_stop(after_s: float, aborted_ago_s: float | None) -> None:
    """Records a run's own stop: seconds since its cancel, and since the abort of its step, if any."""
    observe_stops("run", [after_s])
    if aborted_ago_s is not None:
        abort_seconds.observe(max(after_s - aborted_ago_s, 0))


def count_recovered(resumed: int, failed: int) -> None:
    """Counts participants recovered from lost workers."""
    recovered.labels("resumed").inc(resumed)
    recovered.labels("failed").inc(failed)
    count_ended(Status.FAILED, FailureKind.STALE_WORKER, failed)


def count_sweep(work: str) -> None:
    """Counts a completed sweep and stores its time."""
    sweeps.labels(work, "done").inc()
    _last_sweep[work] = time.time()


def worker_gauges(kind: str, slots: int, running: int, lease_s: float) -> Iterator[Family]:
    """Yields the gauges of a run or quarantine worker."""
    yield run_slots.samples({(kind,): slots})
    yield active_runs.samples({(kind,): running})
    yield lease_seconds.sample(lease_s)


def sweeper_gauges() -> Iterator[Family]:
    """Yields the gauges of a sweeper."""
    yield last_sweep.samples({(work,): at for work, at in _last_sweep.items()})


def count_commit(stored: bool) -> bool:
    """Counts a commit of an interaction; returns `stored` unchanged."""
    (_stored if stored else _refused).inc()
    return stored


@contextlib.contextmanager
def time_broker_call(work: str) -> Iterator[None]:
    """Times the broker operation in this block; counts it as an error if it raises."""
    began = time.perf_counter()
    try:
        yield
    except BaseException:
        broker_errors.labels(work).inc()
        raise
    broker_seconds.labels(work).observe(time.perf_counter() - began)
