"""What a worker tells Flower: a few times a second, many events in one message."""

from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep
from celery.worker.request import Request

#: How often; a full buffer is sent at once.
FLUSH_S = 0.25
#: Events that fill it; Celery's 24 would be full many times a second.
MAX_BUFFERED_EVENTS = 1_000


class EventFlush(StartStopStep):  # type: ignore[misc]
    """Celery sends what is buffered with each turn of its loop, which costs more than a short task itself."""

    requires = ("celery.worker.consumer.events:Events",)

    def start(self, c: Any) -> None:
        """With each connection there is a new dispatcher."""
        c.event_dispatcher.on_send_buffered = None
        c.event_dispatcher.buffer_limit = MAX_BUFFERED_EVENTS
        self._timer = c.timer.call_repeatedly(FLUSH_S, c.event_dispatcher.flush)

    def stop(self, c: Any) -> None:
        """What cannot be sent any more stays in the dispatcher, and goes with the next connection."""
        self._timer.cancel()
        c.event_dispatcher.flush()

    def shutdown(self, c: Any) -> None:
        """What ended or was given back while the worker drained, which was after `stop`."""
        if c.event_dispatcher is not None:
            c.event_dispatcher.flush()


class VisibleRequest(Request):  # type: ignore[misc]
    """A message that is shown with its name and whom it is for, also when it was void before it came.

    Celery tells of those that they were revoked and nothing else: nobody would find them.
    """

    def revoked(self) -> bool:
        """Is it void? Flower is told then."""
        told_before = self._already_revoked
        is_void = bool(super().revoked())
        if is_void and not told_before:
            # What comes late is added to what is known, and changes no state.
            self.send_event("task-received", name=self.name, args=self.argsrepr, kwargs=self.kwargsrepr)
        return is_void


def install(app: Celery) -> None:
    """From now on, workers of `app` tell it so."""
    app.steps["consumer"].add(EventFlush)
