"""Counts and times the transactions of a store."""

from contextlib import AbstractContextManager
from typing import Any, Literal

from understudy.telemetry import metrics


class StoreMetrics:
    """Observes a `Store`."""

    def __init__(self) -> None:
        self._seconds = {kind: metrics.store_seconds.labels(kind) for kind in ("read", "write")}

    def time(self, kind: Literal["read", "write"]) -> AbstractContextManager[Any]:
        """Times one transaction."""
        return self._seconds[kind].time()

    def failed(self, reason: Literal["away", "race"]) -> None:
        """Counts a transaction that failed (away) or is retried (race)."""
        metrics.store_errors.labels(reason).inc()
