"""Reads events in threads and queues them for a command."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.envelopes.events import Event

#: Minimum seconds between two change notifications: a burst of events causes one poll.
DEBOUNCE_S = 0.5
#: Maximum queued events; a reader thread blocks while the queue is full.
_MAX_QUEUED = 1_000


class EventFeed:
    """The events of several sources, each read by its own thread."""

    def __init__(self, sources: Sequence[Callable[[], "Iterator[Event]"]]) -> None:
        self._queue: queue.Queue[Event] = queue.Queue(_MAX_QUEUED)
        self._connected = [False for _ in sources]
        self._notified_at = float("-inf")
        #: The error that ended a source; None while all sources work.
        self.failure: Exception | None = None
        for number, source in enumerate(sources):
            # Daemon threads: the process must not wait for a blocking socket.
            threading.Thread(target=self._read, args=(number, source), name="events", daemon=True).start()

    @property
    def is_connected(self) -> bool:
        """Returns True if the latest read of every source succeeded; False without sources."""
        return bool(self._connected) and all(self._connected)

    def next_event(self, timeout_s: float) -> "Event | None":
        """Returns the next event; None if none arrives within `timeout_s`."""
        try:
            return self._queue.get(timeout=max(timeout_s, 0))
        except queue.Empty:
            return None

    def wait(self, timeout_s: float) -> bool:
        """Waits for an event and returns True, or False after `timeout_s`. A burst of events counts once."""
        end = time.monotonic() + timeout_s
        if self.next_event(timeout_s) is None:
            return False
        time.sleep(max(min(self._notified_at + DEBOUNCE_S, end) - time.monotonic(), 0))
        while self.next_event(0) is not None:
            pass
        self._notified_at = time.monotonic()
        return True

    def _read(self, number: int, source: "Callable[[], Iterator[Event]]") -> None:
        try:
            for event in source():
                self._connected[number] = True
                self._queue.put(event)
        except Exception as error:  # noqa: BLE001 - the command polls instead, or reports it
            self.failure = error
        self._connected[number] = False
