"""Sends a worker's events to Flower: many events in one message, a few times a second."""

from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep
from celery.worker.request import Request

from understudy.domain.queues import previous_message

#: Interval in seconds; a full buffer is sent immediately.
FLUSH_S = 0.25
#: Events in a full buffer; Celery's 24 would fill many times a second.
MAX_BUFFERED_EVENTS = 1_000


class EventFlush(StartStopStep):  # type: ignore[misc]
    """Sends buffered events by a timer; once per loop turn, as Celery does, costs more than a short task."""

    requires = ("celery.worker.consumer.events:Events",)

    def start(self, c: Any) -> None:
        """Configures the dispatcher, which is new for each connection."""
        c.event_dispatcher.on_send_buffered = None
        c.event_dispatcher.buffer_limit = MAX_BUFFERED_EVENTS
        self._timer = c.timer.call_repeatedly(FLUSH_S, c.event_dispatcher.flush)

    def stop(self, c: Any) -> None:
        """Sends the buffer; unsent events stay in the dispatcher for the next connection."""
        self._timer.cancel()
        c.event_dispatcher.flush()

    def shutdown(self, c: Any) -> None:
        """Sends the events of the drain, which happen after `stop`."""
        if c.event_dispatcher is not None:
            c.event_dispatcher.flush()


class VisibleRequest(Request):  # type: ignore[misc]
    """Shows a message that was revoked before it arrived with its name and arguments.

    Celery reports only the revoke of such a message, so Flower could not find it.
    """

    def revoked(self) -> bool:
        """Returns whether the message is revoked; sends its name and arguments to Flower if so."""
        is_reported = self._already_revoked
        is_revoked = bool(super().revoked())
        if is_revoked and not is_reported:
            # Flower adds the fields of a late event and keeps the state.
            self.send_event("task-received", name=self.name, args=self.argsrepr, kwargs=self.kwargsrepr)
        return is_revoked

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Shows that this message replaces the one before it, whose worker may have been killed."""
        super().on_accepted(pid, time_accepted)
        replaced = previous_message(self.id)
        if replaced is not None and self._eventer is not None and self._eventer.enabled:
            exception = f"RunContinues('replaced by {self.id}')"
            self._eventer.send("task-retried", uuid=replaced, exception=exception, traceback="")


def install(app: Celery) -> None:
    """Makes workers of `app` send their events this way."""
    app.steps["consumer"].add(EventFlush)
