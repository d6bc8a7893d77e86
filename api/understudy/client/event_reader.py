"""Reads an event stream: which events are new, and when to reconnect."""

import time
from collections.abc import Mapping
from typing import Any, get_args

import httpx_sse
import pydantic

from understudy.client.exchange import Exchange
from understudy.client.prepared_call import PreparedCall
from understudy.domain.errors import RateLimited, ServiceUnavailable
from understudy.envelopes.events import Event

#: Maximum seconds without data before a reconnect; a server sends a heartbeat every ten seconds.
STREAM_TIMEOUT_S = 30.0
#: Pause in seconds before a reconnect.
RECONNECT_DELAY_S = 1.0

_KINDS = get_args(Event.model_fields["event"].annotation)


class EventReader:
    """The position in one stream, over all its connections."""

    def __init__(
        self, exchange: Exchange, scope: Mapping[str, Any], last_event_id: int | None, *, follow: bool, timeout_s: float
    ) -> None:
        ids = {name: str(id_) for name, id_ in scope.items() if id_ is not None}
        self.call = PreparedCall("GET", "/v1/events", params=ids if follow else {**ids, "follow": "false"})
        self._exchange = exchange
        self._last_event_id = last_event_id
        self._timeout_s = timeout_s
        self._lost_at: float | None = None
        self._retry_after_s = 0.0

    @property
    def headers(self) -> dict[str, str]:
        return {} if self._last_event_id is None else {"Last-Event-ID": str(self._last_event_id)}

    @property
    def pause_s(self) -> float:
        """Returns the seconds before the next connection, at least those that the server asked for."""
        return max(RECONNECT_DELAY_S, self._retry_after_s)

    def accept(self, frame: httpx_sse.ServerSentEvent) -> Event | None:
        """Returns the event of a frame; None for a heartbeat, a repetition or an unknown kind of event."""
        self._lost_at, self._retry_after_s = None, 0.0
        try:
            position = int(frame.id) if frame.data else 0
        except ValueError as error:
            raise self._exchange.unexpected_response(f"is no event stream ({error})") from error
        if position <= (self._last_event_id or 0):
            return None
        self._last_event_id = position
        # A newer server may send unknown kinds of events.
        return self._event(frame) if frame.event in _KINDS else None

    def lost(self, error: ServiceUnavailable | RateLimited) -> None:
        """Records a lost or refused connection. Raises `error` if that has lasted for too long.

        A stream that this client has just lost may still count until the server notices its end.
        """
        self._retry_after_s = error.retry_after_s
        self._lost_at = self._lost_at or time.monotonic()
        if time.monotonic() - self._lost_at > self._timeout_s:
            raise error

    def _event(self, frame: httpx_sse.ServerSentEvent) -> Event:
        try:
            return Event.model_validate({**frame.json(), "id": int(frame.id), "event": frame.event})
        except (pydantic.ValidationError, TypeError, ValueError) as error:
            problem = f"contains an invalid event: {frame.data[:200]!r}"
            raise self._exchange.unexpected_response(problem) from error
