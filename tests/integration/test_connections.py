"""Silent clients lose their connection in bounded time, and connections above the maximum replace idle ones."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from tests.servers import wait_until
from understudy.api.connections import bounded_connection

HEADER = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the length of the body; `/large` with more than any buffer holds."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more and scope["path"] != "/early":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    body = b"x" * 2**20 if scope["path"] == "/large" else str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for left in reversed(range(64 if scope["path"] == "/large" else 1)):
        await send({"type": "http.response.body", "body": body, "more_body": left > 0})


@contextlib.contextmanager
def serving(client_timeout_s: float, max_connections: int = 100) -> Iterator[tuple[int, set[Any]]]:
    """Yields the port and the open connections of a server with these bounds."""
    listener = socket.create_server(("127.0.0.1", 0))
    protocol = bounded_connection(client_timeout_s, max_connections)
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield listener.getsockname()[1], server.server_state.connections
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def connect(port: int, *parts: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        for part in parts:
            client.sendall(part)
        yield client


def answer(client: socket.socket) -> bytes:
    """Returns one whole answer in chunks."""
    received = b""
    while not received.endswith(b"\r\n0\r\n\r\n"):
        received += client.recv(1_000) or pytest.fail("no whole answer")
    return received


def is_lost(client: socket.socket) -> bool:
    """Waits until the server ends the connection; False if it answers instead."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST", HEADER[:-2], HEADER, HEADER + b"12345", b"GET /early HTTP/1.1\r\nHost: a\r\nX-Half: "],
    ids=["nothing", "half a line", "half a header", "no body", "half a body", "half a field"],
)
def test_a_client_that_falls_silent_loses_its_connection(sent: bytes) -> None:
    with serving(0.05) as (port, _), connect(port, sent) as client:
        assert is_lost(client)


def test_a_client_that_sends_single_bytes_loses_its_connection() -> None:
    with serving(0.1) as (port, _), connect(port) as client:
        ended = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.01):
                    client.sendall(b"X")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert is_lost(client)
        finally:
            ended.set()
            dripping.join()


def test_a_second_request_that_is_never_complete_loses_its_connection() -> None:
    with serving(0.1) as (port, _), connect(port, HEADER, b"0123456789") as client:
        assert answer(client).startswith(b"HTTP/1.1 200")
        client.sendall(HEADER[:20])
        wait_until(lambda: is_lost(client))


def test_the_rest_of_an_answered_request_is_not_awaited_for_ever() -> None:
    early = HEADER.replace(b"/echo", b"/early")
    with serving(0.1) as (port, connections), connect(port, early) as client:
        assert answer(client).startswith(b"HTTP/1.1 200")
        wait_until(lambda: not connections)


def test_a_client_that_reads_nothing_loses_its_connection() -> None:
    with serving(0.5) as (port, connections), connect(port, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"):
        wait_until(lambda: any(not one.is_idle for one in connections))
        wait_until(lambda: not connections)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: a\r\nX-Folded: a\r\n b\r\n\r\n",
        b"GET /echo HTTP/1.1\nHost: a\nX-Folded: a\n\tb\n\n",
        b"GET /echo HTTP/1.2\r\nHost: a\r\n\r\n",
    ],
    ids=["length and chunks", "chunks and length", "chunks of an old version", "folded", "folded tab", "version"],
)
@pytest.mark.parametrize("before", [b"", HEADER + b"0123456789"], ids=["first", "second"])
def test_a_request_that_others_read_differently_is_refused_with_all_behind_it(before: bytes, head: bytes) -> None:
    with serving(60) as (port, _), connect(port, before + head + HEADER + b"0123456789") as client:
        received = b"".join(iter(lambda: client.recv(1_000), b""))
    assert received.count(b"HTTP/1.1 200") == (1 if before else 0)
    assert received.count(b"HTTP/1.1 400") == 1


def test_bodies_in_chunks_or_with_fold_like_text_are_read() -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(60) as (port, _), connect(port, head, b"4\r\n\n \n \r\n0\r\n\r\n") as client:
        assert answer(client).endswith(b"4\r\n0\r\n\r\n".replace(b"4", b"1\r\n4"))


def test_a_client_between_two_requests_keeps_its_connection() -> None:
    with serving(0.05) as (port, connections), connect(port, HEADER, b"0123456789") as client:
        assert answer(client).startswith(b"HTTP/1.1 200")
        (connection,) = connections
        assert connection._read_timer is None
        client.sendall(HEADER + b"0123456789")
        assert answer(client).startswith(b"HTTP/1.1 200")


def test_a_connection_above_the_maximum_replaces_an_idle_one() -> None:
    with serving(60, max_connections=2) as (port, connections), contextlib.ExitStack() as clients:
        busy = clients.enter_context(connect(port, HEADER))
        wait_until(lambda: any(not one.is_idle for one in connections))
        idle = clients.enter_context(connect(port))
        wait_until(lambda: len(connections) == 2)
        newest = clients.enter_context(connect(port, HEADER, b"0123456789"))
        assert answer(newest).startswith(b"HTTP/1.1 200")
        assert is_lost(idle)
        busy.sendall(b"0123456789")
        assert answer(busy).startswith(b"HTTP/1.1 200")


def test_a_connection_above_the_maximum_is_lost_if_no_other_is_idle() -> None:
    with serving(60, max_connections=1) as (port, connections), connect(port, HEADER) as busy:
        wait_until(lambda: any(not one.is_idle for one in connections))
        with connect(port) as refused:
            assert is_lost(refused)
        busy.sendall(b"0123456789")
        assert answer(busy).startswith(b"HTTP/1.1 200")
