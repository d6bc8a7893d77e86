"""Bounds on the connections of an API process: how many there are, and how long their clients may be silent.

uvicorn 0.54 offers neither: its only time-out is that of an idle connection, and it ends with the first byte.
"""

import asyncio
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from understudy.api.strict_requests import StrictConnection

#: Bytes a second that a client must send of a body, on average over each time-out.
MIN_BODY_RATE = 16 * 1024
#: Open files that are no connections of clients: store, broker, logs.
_OTHER_FILES = 256


class BoundedConnection(H11Protocol):
    """One connection. It is lost if its client does not complete a header, send its body or read its answer in time.

    A connection above the maximum takes the place of one without a request; if there is none, it is lost itself.
    """

    client_timeout_s: float
    max_connections: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = StrictConnection(h11.SERVER)
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        #: Bytes since the timer of a body was started.
        self._received = 0

    @property
    def is_idle(self) -> bool:
        """Returns whether no request is in progress."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time for the first header."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            idle = (one for one in self.connections if one is not self and isinstance(one, BoundedConnection))
            next((one for one in idle if one.is_idle), self).transport.abort()
        self._watch_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops all timers."""
        self._stop_reading_timer()
        self._stop_writing_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Passes the bytes on, and starts or stops the time for the rest of the header or body."""
        self._received += len(data)
        before = self.conn.their_state, self.cycle
        super().data_received(data)
        if (self.conn.their_state, self.cycle) != before:
            self._stop_reading_timer()
        self._watch_reading()

    def on_response_complete(self) -> None:
        """Starts the time of a request that was sent before this answer."""
        super().on_response_complete()
        self._watch_reading()

    def pause_writing(self) -> None:
        """Starts the time in which the client must read."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.client_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stops the time in which the client must read."""
        self._stop_writing_timer()
        super().resume_writing()

    def _watch_reading(self) -> None:
        """Starts the timer while a part of a request is missing. More bytes of a header do not start it again."""
        # A connection between two requests has the time-out of uvicorn.
        is_header = self.conn.their_state is h11.IDLE and (self.cycle is None or bool(self.conn.trailing_data[0]))
        is_incomplete = is_header or self.conn.their_state is h11.SEND_BODY
        if is_incomplete and self._read_timer is None and not self.transport.is_closing():
            self._received = 0
            self._read_timer = self.loop.call_later(self.client_timeout_s, self._check_reading)

    def _stop_reading_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _stop_writing_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _check_reading(self) -> None:
        self._read_timer = None
        is_body = self.conn.their_state is h11.SEND_BODY
        # While we do not read, the client cannot send.
        if is_body and (self.flow.read_paused or self._received >= MIN_BODY_RATE * self.client_timeout_s):
            self._watch_reading()
        else:
            self.transport.abort()


def bounded_connection(client_timeout_s: float, max_connections: int) -> type[BoundedConnection]:
    """Returns the protocol class with these bounds; fewer connections if the limit of open files is lower."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        max_connections = min(max_connections, max(soft - _OTHER_FILES, soft // 2))
    bounds = {"client_timeout_s": client_timeout_s, "max_connections": max_connections}
    return type("Connection", (BoundedConnection,), bounds)
