"""What a worker tells Flower: a few times a second, many events in one message."""

from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep

#: How often; a full buffer is sent at once.
FLUSH_S = 0.25
#: Events that fill it; Celery's 24 would be full many times a second.
MOST_EVENTS = 1_000


class EventFlush(StartStopStep):  # type: ignore[misc]
    """Celery sends what is buffered with each turn of its loop, which costs more than a short task itself."""

    requires = ("celery.worker.consumer.events:Events",)

    def start(self, c: Any) -> None:
        """With each connection there is a new dispatcher."""
        c.event_dispatcher.on_send_buffered = None
        c.event_dispatcher.buffer_limit = MOST_EVENTS
        self._timer = c.timer.call_repeatedly(FLUSH_S, c.event_dispatcher.flush)

    def stop(self, c: Any) -> None:
        """What cannot be sent any more stays in the dispatcher, and goes with the next connection."""
        self._timer.cancel()
        c.event_dispatcher.flush()


def use(app: Celery) -> None:
    """From now on, workers of `app` do so."""
    app.steps["consumer"].add(EventFlush)
