"""Logs an outage once: at its start, now and then while it lasts, and at its end."""

import logging
import time

#: Seconds between two lines about one outage.
REMIND_INTERVAL_S = 60.0


class OutageLog:
    """The outages of one dependency, as seen by one loop of this process. Two threads may at most repeat a line."""

    def __init__(self, log: logging.Logger, dependency: str) -> None:
        self._log = log
        self._dependency = dependency
        self._since: float | None = None
        self._remind_at = 0.0

    def failed(self, error: object, consequence: str) -> None:
        """Records a failed attempt; most of them log nothing."""
        now = time.monotonic()
        if self._since is not None and now < self._remind_at:
            return
        self._since = self._since or now
        self._remind_at = now + REMIND_INTERVAL_S
        self._log.warning("%s unavailable (%s); %s", self._dependency, error, consequence)

    def succeeded(self) -> None:
        """Records a successful attempt; the first one after an outage logs its length."""
        if self._since is not None:
            self._log.info("%s available again after %.0f s", self._dependency, time.monotonic() - self._since)
            self._since = None
