"""Every metric there is: its name, meaning, labels and buckets, and which processes tell it.

Counters and histograms are counted here by whoever does the thing; figures are read when somebody looks.
Names carry their unit. Labels take few values, and never a workspace, study or participant.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

from prometheus_client import Histogram

from understudy.domain.lifecycle import FailureKind, Outcome, Status
from understudy.domain.queues import Queue
from understudy.telemetry.exporter import (
    MAX_LABEL_VALUES,
    CallbackGauge,
    Component,
    Family,
    bounded,
    counter,
    histogram,
)

#: Seconds, for what should be over at once and may take a minute.
_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_SLOW_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_EVERYWHERE: tuple[Component, ...] = ("api", "worker", "sweeper")

# -- what there is to do, and who does it: out of the store and the broker ---------------------------------

participants = CallbackGauge(
    "understudy_participants",
    "Participants by status: those pending and running as of now, all others as they were counted last.",
    "api",
    status=tuple(Status),
)
oldest_pending = CallbackGauge(
    "understudy_oldest_pending_seconds", "Age in seconds of the oldest pending participant; 0 if none.", "api"
)
unpublished_messages = CallbackGauge(
    "understudy_owed_messages", "Pending participants whose run message is unpublished.", "api"
)
workers = CallbackGauge("understudy_workers", "Worker processes whose lease lives.", "api")
queue_messages = CallbackGauge(
    "understudy_queue_messages", "Messages that wait in a queue of the broker.", "api", queue=tuple(Queue)
)
store_up = CallbackGauge("understudy_store_up", "1 if the store answered this look, else 0.", "api")
broker_up = CallbackGauge("understudy_broker_up", "1 if the broker answered this look, else 0.", "api")

# -- requests ----------------------------------------------------------------------------------------------

waiters = CallbackGauge("understudy_waiters", "Calls that wait for participants here.", "api")
awaited_participants = CallbackGauge("understudy_waited_for", "Participants that calls wait for here.", "api")
event_streams = CallbackGauge("understudy_event_streams", "Streams of events that are open here.", "api")
requests = counter(
    "understudy_http_requests_total",
    "Requests that were answered, by route and status; 499 if nobody waited for the answer any more.",
    "api",
    route=(),
    status=(),
)
request_seconds = histogram(
    "understudy_http_request_seconds",
    "From a request to the beginning of its answer; includes what was waited for.",
    _QUICK_S,
    "api",
    route=(),
)
cancel_seconds = histogram(
    "understudy_cancel_seconds",
    "From a simulation_cancel to its envelope, however many it stops.",
    _QUICK_S,
    "api",
)

# -- runs --------------------------------------------------------------------------------------------------

_KINDS = ("run", "alone")
run_slots = CallbackGauge(
    "understudy_run_slots",
    "Participants that this process runs at a time at most, by the worker's kind.",
    "worker",
    kind=_KINDS,
)
active_runs = CallbackGauge(
    "understudy_runs", "Participants that run in this process, by the worker's kind.", "worker", kind=_KINDS
)
lease_seconds = CallbackGauge(
    "understudy_lease_seconds",
    "Seconds until this process's lease expires; negative once expired.",
    "worker",
)
claims = counter(
    "understudy_claims_total",
    "Run messages that were taken: claimed; dropped, as there was nothing to claim; refused, as there is no "
    "lease.",
    "worker",
    result=("claimed", "dropped", "refused"),
)
commits = counter(
    "understudy_commits_total",
    "Interactions that were stored, and such that came too late: cancelled or taken over meanwhile.",
    "worker",
    result=("stored", "refused"),
)
_stored, _refused = commits.labels("stored"), commits.labels("refused")
transaction_writes = histogram(
    "understudy_transaction_writes",
    "Writes of runs that shared a transaction.",
    (1, 2, 4, 8, 16, 32, 64, 128),
    "worker",
)
step_seconds = histogram(
    "understudy_step_seconds",
    "A step that ended in time: observe, decide, act.",
    _SLOW_S,
    "worker",
    environment=(),
    mind=(),
)
runs = counter(
    "understudy_runs_total",
    "Runs by how they left this process: ended; released, to go on elsewhere; stopped by a cancel, or taken "
    "over by another; unknown, as the store was away.",
    "worker",
    ending=("ended", "released", "stopped", "unknown"),
)
participants_ended = counter(
    "understudy_participants_ended_total",
    "Participants that came to their end here; the reason is the outcome of a completed one, the error_kind "
    "of a failed one.",
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
    "From the commit of a cancel to the cut of the step that was in flight.",
    _QUICK_S,
    "worker",
)
stop_seconds = histogram(
    "understudy_stop_seconds",
    "From the commit of a cancel to the record that the run has stopped, by who recorded it: the run, when "
    "its step was cut; the stop task or the sweeper, whichever came first, when nobody ran it.",
    _QUICK_S,
    "worker",
    "sweeper",
    by=("run", "stop_task", "sweeper"),
)
leases_lost = counter(
    "understudy_leases_lost_total",
    "Leases that ran out under a living process: it aborted its steps.",
    "worker",
)

# -- making good -------------------------------------------------------------------------------------------

recovered = counter(
    "understudy_recovered_total",
    "Participants that were taken from lost workers: resumed elsewhere, or failed at the last attempt.",
    "sweeper",
    result=("resumed", "failed"),
)
republished = counter(
    "understudy_republished_total",
    "Run messages that were lost and sent again, by queue.",
    "sweeper",
    queue=tuple(queue for queue in Queue if queue is not Queue.CONTROL),
)
_SWEEPS = ("recover", "positions", "publish")
sweeps = counter(
    "understudy_sweeps_total",
    "Sweeps by what they do, and whether they came to their end.",
    "sweeper",
    work=_SWEEPS,
    result=("done", "failed"),
)
last_sweep = CallbackGauge(
    "understudy_last_sweep_timestamp_seconds",
    "When a sweep last came to its end, in Unix time; 0: never yet.",
    "sweeper",
    work=_SWEEPS,
)
_last_sweep = dict.fromkeys(_SWEEPS, 0.0)

# -- store and broker --------------------------------------------------------------------------------------

store_seconds = histogram(
    "understudy_store_seconds",
    "A transaction of the store, with the wait for a connection and for a lock.",
    _QUICK_S,
    *_EVERYWHERE,
    kind=("read", "write"),
)
store_errors = counter(
    "understudy_store_errors_total",
    "Transactions that failed, as the store did not answer, and such that lost a race and were begun anew.",
    *_EVERYWHERE,
    kind=("away", "race"),
)
_BROKER_WORK = ("run_message", "stop_task", "abort", "notice", "look")
broker_seconds = histogram(
    "understudy_broker_seconds",
    "What was asked of the broker; run messages and stop tasks go up to 200 at a time.",
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

llm_calls = counter(
    "understudy_llm_calls_total",
    "Calls of a language model, by how they ended.",
    "worker",
    model=(),
    result=(),
)
_LLM_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
llm_seconds = histogram(
    "understudy_llm_seconds", "A call of a language model that was answered.", _LLM_S, "worker", model=()
)
llm_tokens = counter(
    "understudy_llm_tokens_total",
    "Tokens that models read and wrote.",
    "worker",
    model=(),
    kind=("input", "output"),
)
llm_cost = counter("understudy_llm_cost_total", "What calls cost, where prices are set.", "worker", model=())

LlmResult = Literal["answered", "rate_limited", "failed", "timeout", "aborted"]


def observe_llm_call(model: str, result: LlmResult, seconds: float) -> None:
    """A call of a language model ended, after so long; a repeated try is a call of its own."""
    model = bounded("model", model)
    llm_calls.labels(model, result).inc()
    if result == "answered":
        llm_seconds.labels(model).observe(seconds)


def count_llm_usage(model: str, *, input_tokens: int, output_tokens: int, cost: float | None) -> None:
    """An answered call took so many tokens, and cost so much where prices are set."""
    model = bounded("model", model)
    llm_cost.labels(model).inc(cost or 0)
    llm_tokens.labels(model, "input").inc(input_tokens)
    llm_tokens.labels(model, "output").inc(output_tokens)


# -- counting ----------------------------------------------------------------------------------------------


def count_run_message(ending: str) -> None:
    """Count a run message by how the run left this process, one of understudy.worker.run's endings."""
    if ending in {"dropped", "refused"}:
        claims.labels(ending).inc()
    else:
        claims.labels("claimed").inc()
        runs.labels(ending).inc()


def observe_step(environment: str, mind: str, seconds: float) -> None:
    """Count a step that ended in time."""
    _steps_of(environment, mind).observe(seconds)


@lru_cache(MAX_LABEL_VALUES**2)
def _steps_of(environment: str, mind: str) -> Histogram:
    # Looking the series up takes longer than counting.
    return step_seconds.labels(bounded("environment", environment), bounded("mind", mind))


def count_ended(status: Status, reason: str | None = None, count: int = 1) -> None:
    """Count participants that came to their end."""
    participants_ended.labels(status, reason or "").inc(count)


@contextlib.contextmanager
def time_cancel() -> Iterator[None]:
    """Time a cancel that is done in this block; one that is refused is none."""
    began = time.perf_counter()
    yield
    cancel_seconds.observe(time.perf_counter() - began)


def observe_stops(by: str, after_s: Iterable[float]) -> None:
    """Count cancelled runs that are known to have stopped so long after their cancels."""
    for seconds in after_s:
        stop_seconds.labels(by).observe(seconds)


def observe_run_stop(after_s: float, cut_ago_s: float | None) -> None:
    """Count a run that recorded its own stop: after its cancel, and since its step was cut, if any."""
    observe_stops("run", [after_s])
    if cut_ago_s is not None:
        abort_seconds.observe(max(after_s - cut_ago_s, 0))


def count_recovered(resumed: int, failed: int) -> None:
    """Count participants that were taken from lost workers."""
    recovered.labels("resumed").inc(resumed)
    recovered.labels("failed").inc(failed)
    count_ended(Status.FAILED, FailureKind.STALE_WORKER, failed)


def count_sweep(work: str) -> None:
    """Count a sweep that came to its end just now."""
    sweeps.labels(work, "done").inc()
    _last_sweep[work] = time.time()


def worker_gauges(kind: str, slots: int, running: int, lease_s: float) -> Iterator[Family]:
    """What a worker that runs participants is asked for."""
    yield run_slots.samples({(kind,): slots})
    yield active_runs.samples({(kind,): running})
    yield lease_seconds.sample(lease_s)


def sweeper_gauges() -> Iterator[Family]:
    """What a sweeper is asked for."""
    yield last_sweep.samples({(work,): at for work, at in _last_sweep.items()})


def count_commit(stored: bool) -> bool:
    """Count an interaction that was handed in; `stored`, as it was given."""
    (_stored if stored else _refused).inc()
    return stored


@contextlib.contextmanager
def time_broker_call(work: str) -> Iterator[None]:
    """Count and time what the broker is asked for in this block."""
    began = time.perf_counter()
    try:
        yield
    except BaseException:
        broker_errors.labels(work).inc()
        raise
    broker_seconds.labels(work).observe(time.perf_counter() - began)
