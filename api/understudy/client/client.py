"""The Python client: every operation of contract section 6 as a method.

    with Understudy() as understudy:
        study = understudy.study_create("Pickers", assignment={"task": "Read the shop in German"},
                                        iteration={"content": {"environment": "web", "url": url}})
        run = understudy.study_run(study.id, sample=5, wait=True)

Methods return the models of `understudy.envelopes`, take UUIDs or aliases as ids, and raise the errors of
`understudy.domain.errors`. `study_run`, `ask_run`, `ask_round`, `simulation_extend` and `simulation_wait`
return a RunStudyResponse; its `ok` is false if nothing was dispatched or the wait timed out.
"""

import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Literal, Self, overload

import httpx
import httpx_sse

from understudy.client.event_reader import STREAM_TIMEOUT_S, EventReader
from understudy.client.exchange import Exchange, RawResponse
from understudy.client.methods import Methods
from understudy.client.prepared_call import PreparedCall, prepare
from understudy.client.retries import Retries
from understudy.client.server_address import resolve_server_address
from understudy.client.transport import Transport
from understudy.client.types import Id, Json
from understudy.domain.errors import RateLimited, ServiceUnavailable
from understudy.envelopes.events import Event, EventTicket
from understudy.envelopes.health import Ready
from understudy.envelopes.people import Panel


class Understudy(Methods):
    """A synchronous client of one workspace. Threads may share it; close it or use it in a `with`.

    Without `server` or `token` it reads `UNDERSTUDY_SERVER` and `UNDERSTUDY_TOKEN`, then the files of
    `understudy up` in `UNDERSTUDY_DATA_DIR`. `timeout_s` limits one response in seconds; a waiting call adds
    its own timeout. `retries` is how often a call is sent again after a failure that a repetition may cure,
    never sooner than its `Retry-After`; calls that start something then get an idempotency key, so that they
    start it once. `on_answer` receives the unchanged JSON of each response before the client parses it.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 0,
        on_answer: Callable[[bytes], None] | None = None,
        transport: httpx.BaseTransport | None = None,
        wire: httpx.BaseTransport | None = None,
    ) -> None:
        exchange = Exchange(resolve_server_address(server, token), timeout_s=timeout_s, on_answer=on_answer)
        self._transport = Transport(exchange, Retries(retries), transport or wire)

    @property
    def server(self) -> str:
        return self._transport.exchange.server

    def close(self) -> None:
        self._transport.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self, method: str, path: str, *, params: Json | None = None, body: Json | None = None, wait_s: float = 0.0
    ) -> RawResponse:
        """Calls any endpoint and returns its unchanged JSON. `wait_s`: seconds that the request waits."""
        return self._transport.send(
            PreparedCall(method, path, params, body, wait_s, is_repeatable=method == "GET", run_response=True)
        )

    def health(self) -> Ready:
        """Returns the readiness of the server. Raises ServiceUnavailable if it is not ready."""
        answer = self._transport.send(PreparedCall("GET", "/readyz", needs_token=False))
        ready: Ready = self._transport.exchange.read(Ready, answer)
        return ready

    @overload
    def person_export(self, where: Json | None = None, format: Literal["json"] = "json") -> Panel: ...
    @overload
    def person_export(self, where: Json | None, format: Literal["csv"]) -> str: ...
    def person_export(
        self,
        where: Json | None = None,
        format: Literal["json", "csv"] = "json",  # noqa: A002 - the documented name
    ) -> Panel | str:
        """Exports all people that match `where`, at most 10,000, for an import elsewhere."""
        call = prepare("person_export", {**(where or {}), "format": format})
        answer = self._transport.send(call)
        return answer.body.decode() if format == "csv" else self._transport.exchange.read(Panel, answer)

    def event_ticket(
        self, *, study_id: Id | None = None, participant_id: Id | None = None, ask_id: Id | None = None
    ) -> EventTicket:
        """Creates a ticket with which a browser follows one study, participant or ask for ten minutes."""
        scope = {"study_id": study_id, "participant_id": participant_id, "ask_id": ask_id}
        body = {name: str(value) for name, value in scope.items() if value is not None}
        answer = self._transport.send(PreparedCall("POST", "/v1/events/tickets", body=body))
        ticket: EventTicket = self._transport.exchange.read(EventTicket, answer)
        return ticket

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
        Raises ServiceUnavailable or RateLimited if it gets no stream for more than `reconnect_timeout_s` seconds.
        `patience_s` is the earlier name of that argument.
        """
        scope = {"study_id": study_id, "participant_id": participant_id, "ask_id": ask_id}
        timeout_s = reconnect_timeout_s if patience_s is None else patience_s
        reader = EventReader(self._transport.exchange, scope, last_event_id, follow=follow, timeout_s=timeout_s)
        return self._read(reader, follow=follow)

    def _read(self, reader: EventReader, *, follow: bool) -> Generator[Event]:
        while True:
            try:
                with self._transport.stream(reader.call, reader.headers, STREAM_TIMEOUT_S) as response:
                    for frame in httpx_sse.EventSource(response).iter_sse():
                        if event := reader.accept(frame):
                            yield event
                if not follow:
                    return
            except (ServiceUnavailable, RateLimited) as error:
                reader.lost(error)
            time.sleep(reader.pause_s)
