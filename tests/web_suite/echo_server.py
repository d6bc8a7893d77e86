"""A server that serves one page and records every request that is made from it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.web_suite.cases import Case
from tests.web_suite.payloads import PAGE, Payload, body_text

_FILES = (".png", ".js", ".ico")


class EchoServer(ThreadingHTTPServer):
    """Serves the page of `case`; `sent` is the first request that was made from it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.case: Case | None = None
        self.sent: Payload | None = None
        self.arrived = threading.Event()

    @property
    def page_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{PAGE}"

    def serve(self, case: Case) -> None:
        """Serves the page of `case` from now on, and forgets what was sent before."""
        self.case, self.sent = case, None
        self.arrived.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EchoServer

    def do_GET(self) -> None:
        if self.path == PAGE and self.server.case is not None:
            self._answer(self.server.case.page_bytes(), self.server.case.header())
        elif self.path.endswith(_FILES):
            self._answer(b"", "text/plain")
        else:
            self._record()

    def do_POST(self) -> None:
        self._record()

    def _record(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content_type, text = body_text(self.headers.get("Content-Type") or "", body)
        if not self.server.arrived.is_set():
            self.server.sent = Payload(self.command, self.path, content_type, text)
            self.server.arrived.set()
        self._answer(b"<title>Sent</title>", "text/html")

    def _answer(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Logs nothing."""


@contextmanager
def echo_server() -> Iterator[EchoServer]:
    """Runs the server in a thread."""
    server = EchoServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
