"""Events while a command does something else: a thread reads them, the command takes them."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.envelopes.events import Event

#: From one time that something is told to have changed to the next: many events cost one look.
DEBOUNCE_S = 0.5
#: Events that wait to be taken; who reads them waits, too, when there are more.
_MAX_QUEUED = 1_000


class EventFeed:
    """The events of some sources, each read by a thread of its own."""

    def __init__(self, sources: Sequence[Callable[[], "Iterator[Event]"]]) -> None:
        self._waiting: queue.Queue[Event] = queue.Queue(_MAX_QUEUED)
        self._flowing = [False for _ in sources]
        self._told_at = float("-inf")
        #: Why there will be no more, if that is so.
        self.failure: Exception | None = None
        for number, source in enumerate(sources):
            # The process need not wait for what blocks in a socket.
            threading.Thread(target=self._read, args=(number, source), name="events", daemon=True).start()

    @property
    def is_connected(self) -> bool:
        """Is every source connected, as far as one can tell?"""
        return bool(self._flowing) and all(self._flowing)

    def next_event(self, most_s: float) -> "Event | None":
        """The next event; None if none comes within `most_s`."""
        try:
            return self._waiting.get(timeout=max(most_s, 0))
        except queue.Empty:
            return None

    def wait(self, most_s: float) -> bool:
        """Until something happened, at most `most_s`; did it? A burst of events is told once."""
        end = time.monotonic() + most_s
        if self.next_event(most_s) is None:
            return False
        time.sleep(max(min(self._told_at + DEBOUNCE_S, end) - time.monotonic(), 0))
        while self.next_event(0) is not None:
            pass
        self._told_at = time.monotonic()
        return True

    def _read(self, number: int, source: "Callable[[], Iterator[Event]]") -> None:
        try:
            for event in source():
                self._flowing[number] = True
                self._waiting.put(event)
        except Exception as error:  # noqa: BLE001 - whatever it was, the command can do without, or tells it
            self.failure = error
        self._flowing[number] = False
