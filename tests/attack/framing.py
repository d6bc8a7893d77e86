"""Requests whose end two servers could see in different places, and clients that fall silent."""

import contextlib
import threading
from collections.abc import Iterator

from tests.attack.attack import Answer, Attack
from tests.attack.target import CLIENT_TIMEOUT_S, Target, statuses

_POST = "POST /v1/simulations/cancel HTTP/1.1"
_BODY = b'5\r\n{"a":\r\n0\r\n\r\n'

#: Fields and body of a POST, behind which another request follows.
_FRAMES: list[tuple[tuple[str, ...], bytes]] = [
    (("Content-Length: 2", "Content-Length: 40"), b"{}"),
    (("Content-Length: 2, 40",), b"{}"),
    (("Content-Length: +2",), b"{}"),
    (("Content-Length: -2",), b"{}"),
    (("Content-Length: 0x2",), b"{}"),
    (("Content-Length: 2 2",), b"{}"),
    (("Content-Length: 99999999999999999999999",), b"{}"),
    (("Content-Length: 2", "Transfer-Encoding: chunked"), _BODY),
    (("Transfer-Encoding: chunked", "Content-Length: 2"), _BODY),
    (("Content-Length: 0", "Transfer-Encoding:\r\n chunked"), _BODY),
    (("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), _BODY),
    (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), _BODY),
    (("Transfer-Encoding: xchunked",), _BODY),
    (("Transfer-Encoding: chunked, identity",), _BODY),
    (("Transfer-Encoding : chunked",), _BODY),
    (("Transfer-Encoding: \x0bchunked",), _BODY),
    (("Content-Length : 2",), b"{}"),
    (("Transfer-Encoding: chunked",), b"0x2\r\n{}\r\n0\r\n\r\n"),
    (("Transfer-Encoding: chunked",), b"+2\r\n{}\r\n0\r\n\r\n"),
    (("Transfer-Encoding: chunked",), b"2\r\n{}XX0\r\n\r\n"),
    (("Transfer-Encoding: chunked",), b"f" * 30 + b"\r\n{}\r\n0\r\n\r\n"),
    (("Content-Length: 2", "X-Folded: a\r\n b"), b"{}"),
    (("Content-Length:\r\n 2",), b"{}"),
    (("Content-Length: 2", "X\x00: a"), b"{}"),
    (("Content-Length: 2", "X: a\x00b"), b"{}"),
    (("Content-Length: 2", "X: a\rY: b"), b"{}"),
    (("Content-Length: 2", "no colon"), b"{}"),
    (("Content-Length: 2", "Host: other"), b"{}"),
]


def _frames(target: Target) -> Iterator[Answer]:
    second = target.head(f"DELETE /v1/people/{target.mine.person} HTTP/1.1", "Connection: close")
    for fields, body in _FRAMES:
        came = statuses(target.send(target.head(_POST, *fields) + body + second))
        yield Answer("; ".join(fields), f"{came}", came == [400])


#: First lines that are no request of HTTP/1.1.
_LINES = [
    *("GET /v1/people", "GET  /v1/people HTTP/1.1", "GET /v1/people HTTP/9.9", "GET /v1/people\tHTTP/1.1"),
    *(
        "GET /v1/people HTTP/1.1 x",
        " GET /v1/people HTTP/1.1",
        "GET /v1/pe\x00ople HTTP/1.1",
        "PRI * HTTP/2.0",
        "\x16\x03\x01",
    ),
    *("GET /v1/people HTTP/1.1\r\n X: a", "G\x00ET /v1/people HTTP/1.1"),
]


def _lines(target: Target) -> Iterator[Answer]:
    for line in _LINES:
        came = statuses(target.send(target.head(line, "Connection: close")))
        yield Answer(line, f"{came}", came == [400])
    long = target.head(_POST, "X-Long: " + "a" * 2_000_000, "Connection: close")
    came = statuses(target.send(long))
    # The connection may be reset while the rest is on its way; then the answer is lost.
    yield Answer("a field of 2,000,000 bytes", f"{came}", came in ([400], []))
    chunked = target.head("POST /v1/people HTTP/1.0", "Transfer-Encoding: chunked", "Connection: close")
    came = statuses(target.send(chunked + _BODY))
    yield Answer("HTTP/1.0 with chunks", f"{came}", came == [400])


def _silent(target: Target) -> Iterator[Answer]:
    head = target.head(_POST, "Content-Length: 100")
    with contextlib.ExitStack() as stack:
        half = {
            "nothing": b"",
            "half a line": b"POST",
            "half a head": head[:-2],
            "a head without its body": head,
            "half a body": head + b"{",
            "half a chunk": target.head(_POST, "Transfer-Encoding: chunked") + b"ff\r\n{",
        }
        silent = {name: stack.enter_context(target.connect()) for name in half}
        for name, connection in silent.items():
            connection.sendall(half[name])
        drips = {name: stack.enter_context(target.connect()) for name in ("bytes of a head", "bytes of a body")}
        drips["bytes of a body"].sendall(head)
        ended = threading.Event()

        def drip() -> None:
            while not ended.wait(CLIENT_TIMEOUT_S / 10):
                for connection in drips.values():
                    with contextlib.suppress(OSError):
                        connection.sendall(b"X")

        thread = threading.Thread(target=drip)
        thread.start()
        stack.callback(thread.join)
        stack.callback(ended.set)
        for name, connection in (silent | drips).items():
            try:
                left = connection.recv(1)
            except ConnectionResetError:
                left = b""
            except TimeoutError:
                left = b"?"
            yield Answer(f"{name}, then silence", "an open connection" if left else "closed", left == b"")


ATTACKS = [
    Attack("request smuggling", "400, one answer, the connection closes", _frames),
    Attack("malformed request line", "400", _lines),
    Attack("silent or slow client", "the connection closes in bounded time", _silent),
]
