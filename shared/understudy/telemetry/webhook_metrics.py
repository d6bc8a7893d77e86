"""The metrics of the process that delivers webhooks."""

import time
from collections.abc import Iterator

from understudy.telemetry.exporter import CallbackGauge, Family, counter, histogram

attempts = counter(
    "understudy_webhook_attempts_total",
    "Attempts to deliver an event to a webhook, by result.",
    "webhooks",
    result=("delivered", "failed"),
)
attempt_seconds = histogram(
    "understudy_webhook_seconds",
    "Duration of attempts to deliver an event.",
    (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
    "webhooks",
)
dead = counter("understudy_webhooks_dead_total", "Deliveries that failed for the whole retry period.", "webhooks")
pending_deliveries = CallbackGauge("understudy_webhooks_pending", "Deliveries that wait for an attempt.", "webhooks")
oldest = CallbackGauge(
    "understudy_webhooks_oldest_seconds", "Age in seconds of the oldest delivery that waits; 0 if none.", "webhooks"
)
last_pass = CallbackGauge(
    "understudy_last_webhook_pass_timestamp_seconds",
    "Unix time of the last completed pass over events and deliveries; 0 if none yet.",
    "webhooks",
)
_last_pass = [0.0]


def observe_attempt(seconds: float, *, failed: bool) -> None:
    """Counts and times an attempt to deliver an event."""
    attempts.labels("failed" if failed else "delivered").inc()
    attempt_seconds.observe(seconds)


def count_pass() -> None:
    """Stores the time of a completed pass."""
    _last_pass[0] = time.time()


def gauges(pending: int, oldest_s: float) -> Iterator[Family]:
    """Yields the gauges of the process that delivers webhooks."""
    yield pending_deliveries.sample(pending)
    yield oldest.sample(oldest_s)
    yield last_pass.sample(_last_pass[0])
