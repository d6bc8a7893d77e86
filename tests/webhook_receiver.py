"""A receiver of webhooks on loopback that tests make fail: down, slow, refusing, closing."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from standardwebhooks import Webhook as Verifier


class Received(NamedTuple):
    """One request that reached the receiver."""

    headers: dict[str, str]
    body: str

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.body)
        return message

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def participant(self) -> str:
        return str(self.message["data"]["id"])

    def verify(self, secret: str) -> dict[str, Any]:
        """Returns the verified message. Raises WebhookVerificationError."""
        verified: dict[str, Any] = Verifier(secret).verify(self.body, self.headers)
        return verified


#: Answers a request: a status, or None to close the connection without an answer.
Behaviour = Callable[[Received], int | None]


class Receiver:
    """Records each request, and answers as `behaviour` says."""

    def __init__(self, behaviour: Behaviour = lambda _: 204, port: int = 0) -> None:
        self.behaviour = behaviour
        self.requests: list[Received] = []
        #: Requests in progress, and the most at once.
        self.open = self.most_open = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    # Its sender was killed in the middle.
                    self.close_connection = True
                    return
                received = Received({name.lower(): value for name, value in self.headers.items()}, body.decode())
                status = receiver.answer(received)
                if status is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if 300 <= status < 400:
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Logs nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024

            def handle_error(self, *_: object) -> None:
                """A closed connection is what some tests want."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, received: Received) -> int | None:
        with self._lock:
            self.requests.append(received)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            return self.behaviour(received)
        finally:
            with self._lock:
                self.open -= 1

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def receiver(behaviour: Behaviour = lambda _: 204, port: int = 0) -> Iterator[Receiver]:
    """Yields a running receiver; it is down after the block."""
    running = Receiver(behaviour, port)
    try:
        yield running
    finally:
        running.close()
