"""The client methods for event streams, which reconnect when a connection is lost."""

import time
from collections.abc import Generator, Mapping
from typing import get_args

import httpx_sse
import pydantic

from understudy.client.arguments import Id
from understudy.client.transport import Transport
from understudy.domain.errors import ServiceUnavailable
from understudy.envelopes.events import Event

#: Maximum seconds without data before a reconnect; a server sends a heartbeat every ten seconds.
STREAM_TIMEOUT_S = 30.0
#: Pause in seconds before a reconnect.
RECONNECT_DELAY_S = 1.0

_KINDS = get_args(Event.model_fields["event"].annotation)


class EventCalls:
    """The part of `understudy.client.client.Understudy` for events."""

    _transport: Transport

    def events(
        self,
        *,
        study_id: Id | None = None,
        participant_id: Id | None = None,
        ask_id: Id | None = None,
        last_event_id: int | None = None,
        follow: bool = True,
        reconnect_timeout_s: float = 30.0,
        patience_s: float | None = None,
    ) -> Generator[Event]:
        """Yields each event of a study, ask or participant once; blocks between events, so use a thread.

        Starts at the first event, or after the event `last_event_id`. With `follow` false, ends after the
        events committed at the time of the call. Reconnects after a lost connection and misses no event.
        Raises ServiceUnavailable if the server is unavailable for more than `reconnect_timeout_s` seconds.
        `patience_s` is the earlier name of that argument.
        """
        ids = {"study_id": study_id, "participant_id": participant_id, "ask_id": ask_id}
        scope = {name: str(id_) for name, id_ in ids.items() if id_ is not None}
        return _read(
            self._transport,
            scope,
            last_event_id,
            follow=follow,
            timeout_s=reconnect_timeout_s if patience_s is None else patience_s,
        )


def _read(
    transport: Transport,
    scope: Mapping[str, str],
    last_event_id: int | None,
    *,
    follow: bool,
    timeout_s: float,
) -> Generator[Event]:
    query = dict(scope) if follow else {**scope, "follow": "false"}
    lost_at: float | None = None
    while True:
        after = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        try:
            with transport.stream("/v1/events", query, after, read_timeout_s=STREAM_TIMEOUT_S) as response:
                for frame in httpx_sse.EventSource(response).iter_sse():
                    lost_at = None
                    position = int(frame.id) if frame.data else 0
                    if position <= (last_event_id or 0):
                        continue
                    last_event_id = position
                    # A newer server may send unknown kinds of events.
                    if frame.event in _KINDS:
                        yield _event(transport, frame)
            if not follow:
                return
        except ServiceUnavailable:
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > timeout_s:
                raise
        except ValueError as error:
            raise transport.unexpected_response(f"is no event stream ({error})") from error
        time.sleep(RECONNECT_DELAY_S)


def _event(transport: Transport, frame: httpx_sse.ServerSentEvent) -> Event:
    try:
        return Event.model_validate({**frame.json(), "id": int(frame.id), "event": frame.event})
    except (pydantic.ValidationError, TypeError) as error:
        raise transport.unexpected_response(f"contains an invalid event: {frame.data[:200]!r}") from error
