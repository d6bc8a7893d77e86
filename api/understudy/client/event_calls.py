"""Events as they come, over as many connections as it takes."""

import time
from collections.abc import Generator, Mapping
from typing import get_args

import httpx_sse
import pydantic

from understudy.client.arguments import Id
from understudy.client.transport import Transport
from understudy.domain.errors import ServiceUnavailable
from understudy.envelopes.events import Event

#: A server gives a sign of life every ten seconds; one that is silent for so long has gone.
STREAM_TIMEOUT_S = 30.0
#: Pause before connecting again.
RECONNECT_DELAY_S = 1.0

_KINDS = get_args(Event.model_fields["event"].annotation)


class EventCalls:
    """The part of the Python client that reads events."""

    _transport: Transport

    def events(
        self,
        *,
        study_id: Id | None = None,
        participant_id: Id | None = None,
        ask_id: Id | None = None,
        last_event_id: int | None = None,
        follow: bool = True,
        patience_s: float = 30.0,
    ) -> Generator[Event]:
        """What happens in a study or ask or to a participant, as it happens: each event once, without end.

        From the beginning, or after the event of `last_event_id`. With `follow` false it ends with what was
        committed when it was called. Lost connections are made anew, without a gap; a server that is away for
        longer than `patience_s` is ServiceUnavailable. It blocks between events: give it a thread of its own.
        """
        given = {"study_id": study_id, "participant_id": participant_id, "ask_id": ask_id}
        scope = {name: str(id_) for name, id_ in given.items() if id_ is not None}
        return _read(self._transport, scope, last_event_id, follow=follow, patience_s=patience_s)


def _read(
    transport: Transport,
    scope: Mapping[str, str],
    last_event_id: int | None,
    *,
    follow: bool,
    patience_s: float,
) -> Generator[Event]:
    query = dict(scope) if follow else {**scope, "follow": "false"}
    lost_at: float | None = None
    while True:
        after = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        try:
            with transport.stream("/v1/events", query, after, silence_s=STREAM_TIMEOUT_S) as response:
                for frame in httpx_sse.EventSource(response).iter_sse():
                    lost_at = None
                    position = int(frame.id) if frame.data else 0
                    if position <= (last_event_id or 0):
                        continue
                    last_event_id = position
                    # A newer server may have more to tell than we know of.
                    if frame.event in _KINDS:
                        yield _event(transport, frame)
            if not follow:
                return
        except ServiceUnavailable:
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > patience_s:
                raise
        except ValueError as error:
            raise transport.unexpected_response(f"is no stream of events ({error})") from error
        time.sleep(RECONNECT_DELAY_S)


def _event(transport: Transport, frame: httpx_sse.ServerSentEvent) -> Event:
    try:
        return Event.model_validate({**frame.json(), "id": int(frame.id), "event": frame.event})
    except (pydantic.ValidationError, TypeError) as error:
        raise transport.unexpected_response(f"has an event that is none: {frame.data[:200]!r}") from error
