"""The events of the Python client: each once, over as many connections as it takes."""

import json
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx
import pytest

from tests.fake_api import T1, FakeApi, error_body
from understudy.client import Understudy, event_reader
from understudy.domain.errors import AuthFailed, NotFound, ServiceUnavailable, UnderstudyError


def frame(position: int, event: str = "interaction", **data: Any) -> bytes:
    told = {"participant_id": T1, "seq": position, "at": "2026-11-22T10:00:00.000000Z", **data}
    return f"event: {event}\ndata: {json.dumps(told)}\nid: {position}\n\n".encode()


class Server:
    """Answers each connection with the next of its answers, and remembers from where on it was asked."""

    def __init__(self) -> None:
        self.answers: list[Callable[[], httpx.Response]] = []
        self.asked: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers.get("last-event-id"))
        assert request.headers["accept"] == "text/event-stream"
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])()

    def streams(self, *chunks: bytes, then: Exception | None = None) -> None:
        def content() -> Iterator[bytes]:
            yield from chunks
            if then:
                raise then

        headers = {"content-type": "text/event-stream; charset=utf-8"}
        self.answers.append(lambda: httpx.Response(200, content=content(), headers=headers))

    def refuses(self, status: int, code: str) -> None:
        self.answers.append(lambda: httpx.Response(status, json=error_body(code)))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Understudy]:
    monkeypatch.setattr(event_reader, "RECONNECT_DELAY_S", 0.001)
    with Understudy("http://127.0.0.1:1", "secret", wire=httpx.MockTransport(server)) as client:
        yield client


def test_a_lost_connection_is_resumed_after_the_last_event(client: Understudy, server: Server) -> None:
    server.streams(b"retry: 1000\n\n", frame(1), frame(2)[:20], then=httpx.ReadError("cut"))
    server.refuses(503, "service_unavailable")
    # A server may repeat an event.
    server.streams(b": heartbeat\n\n", frame(1), frame(2, "status", status="completed", outcome="gave_up"))
    server.streams(then=httpx.ReadTimeout("silence"))
    server.streams(frame(3))
    events = list(islice(client.events(study_id="s-b2c"), 3))
    assert [(event.id, event.event) for event in events] == [(1, "interaction"), (2, "status"), (3, "interaction")]
    assert (events[1].status, events[1].outcome) == ("completed", "gave_up")
    assert server.asked == [None, "1", "1", "2", "2"]


def test_a_server_that_stays_unavailable_is_an_error_after_a_while(client: Understudy, server: Server) -> None:
    server.streams(frame(1))
    server.refuses(503, "service_unavailable")
    events = client.events(study_id="s-b2c", patience_s=0.05)
    assert next(events).id == 1
    with pytest.raises(ServiceUnavailable):
        next(events)
    assert len(server.asked) > 3


def test_a_refused_request_is_not_repeated(client: Understudy, server: Server) -> None:
    server.streams(frame(1))
    server.refuses(401, "auth_failed")
    with pytest.raises(AuthFailed):
        list(client.events(study_id="s-b2c"))
    assert len(server.asked) == 2


def test_unknown_events_and_fields_of_a_newer_server_are_ignored(client: Understudy, server: Server) -> None:
    server.streams(frame(1, "mood", colour="blue"), frame(2, colour="blue"))
    assert [event.id for event in client.events(study_id="s-b2c", follow=False)] == [2]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/html", b"<html>A proxy</html>"),
        ("text/event-stream", b"data: {\nid: 1\nevent: status\n\n"),
        ("text/event-stream", b"data: []\nid: 1\nevent: status\n\n"),
        ("text/event-stream", b"data: {}\nid: one\nevent: status\n\n"),
    ],
)
def test_a_malformed_event_is_an_error(client: Understudy, server: Server, kind: str, content: bytes) -> None:
    answer = httpx.Response(200, content=content, headers={"content-type": kind})
    server.answers.append(lambda: answer)
    with pytest.raises(UnderstudyError, match="the answer of"):
        list(client.events(study_id="s-b2c"))


def test_a_client_that_is_closed_while_a_thread_connects_leaves_nothing_open(
    fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that is through closes its client, and does not wait for those who read events for it."""
    made: list[socket.socket] = []
    connect = socket.create_connection

    def closed_meanwhile(*args: Any, **options: Any) -> socket.socket:
        made.append(connect(*args, **options))
        client.close()
        return made[-1]

    monkeypatch.setattr(socket, "create_connection", closed_meanwhile)
    client = Understudy(fake.url, "secret")
    with pytest.raises(NotFound):
        next(client.events(study_id="s-b2c"))
    assert [one.fileno() for one in made] == [-1]
