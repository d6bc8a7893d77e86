"""Publishing over a fake Redis: the messages, their batches, and an unavailable broker or store."""

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import fakeredis
import pytest
from kombu.transport.redis import Channel

from tests.servers import wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.holds import STANDARD_LIMITS, DefaultLimits
from understudy.domain.queues import Queue
from understudy.queue import publisher as publisher_module
from understudy.queue.celery.app import create_celery
from understudy.queue.publisher import BROKER_ERRORS, Publisher
from understudy.store import dispatch, window
from understudy.store.dispatch import RunMessage
from understudy.store.window import Refill


class FakeStore:
    """Reserves each run message once, in place of the functions of `understudy.store.dispatch`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reserved: set[UUID] = set()
        self.error: Exception | None = None
        monkeypatch.setattr(window, "refill", self._refill)
        monkeypatch.setattr(dispatch, "unreserve_messages", self._unreserve)
        monkeypatch.setattr(dispatch, "load_messages", self._load)

    def write(self, work: Callable[[None], Any]) -> Any:
        with self.read():
            return work(None)

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        if self.error:
            raise self.error
        yield

    def _load(self, _: None, ids: Sequence[UUID]) -> list[RunMessage]:
        return [RunMessage(id_, 1, str(Queue.RUNS), f"t-{id_.hex[:3]}", "s-abc", None) for id_ in ids]

    def _refill(self, _: None, limit: int, defaults: DefaultLimits) -> Refill:
        assert defaults == STANDARD_LIMITS
        new = [id_ for id_ in IDS if id_ not in self.reserved][:limit]
        self.reserved.update(new)
        return Refill(self._load(None, new), has_more=len(new) == limit, has_backlog=False, preempted=0)

    def _unreserve(self, _: None, messages: Sequence[RunMessage]) -> None:
        self.reserved -= {message.participant_id for message in messages}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    return FakeStore(monkeypatch)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeServer:
    """A fake Redis, to which kombu's Redis transport connects."""
    shared = fakeredis.FakeServer()

    class Connection(fakeredis.FakeRedisConnection):
        def __init__(self, **options: Any) -> None:
            super().__init__(server=shared, **options)

    monkeypatch.setattr(Channel, "connection_class", Connection)
    return shared


@pytest.fixture
def publisher(server: fakeredis.FakeServer, store: FakeStore) -> Iterator[Publisher]:
    # kombu shares the connections of a URL within a process.
    celery = create_celery(f"redis://{uuid4()}")
    # kombu waits 2 s before it tries again.
    celery.conf.broker_transport_options["max_retries"] = 0
    made = Publisher(celery, store)  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Timer]:
    """Timers that the test runs itself; batches have two messages."""
    started: list[threading.Timer] = []

    class Timer(threading.Timer):
        def start(self) -> None:
            started.append(self)

    monkeypatch.setattr(publisher_module, "PUBLISH_BATCH_SIZE", 2)
    monkeypatch.setattr(publisher_module, "Timer", Timer)
    return started


def messages(server: fakeredis.FakeServer, queue: Queue) -> list[dict[str, Any]]:
    """The headers of the messages in `queue`, oldest first, each with its arguments."""
    found = [json.loads(text) for text in fakeredis.FakeRedis(server=server).lrange(str(queue), 0, -1)]
    return [
        message["headers"] | {"args": json.loads(base64.b64decode(message["body"]))[0]} for message in reversed(found)
    ]


def wait_for_ids(server: fakeredis.FakeServer, queue: Queue, ids: Sequence[str]) -> None:
    """Waits until exactly these messages are in `queue`, in order."""
    wait_until(lambda: len(messages(server, queue)) >= len(ids), 10)
    assert [message["id"] for message in messages(server, queue)] == [*ids]


IDS = [uuid4() for _ in range(3)]
RUNS = [f"{id_}.1" for id_ in IDS]
STOPS = [f"{id_}.1.stop" for id_ in IDS]


def test_run_messages_are_published_once_with_id_and_aliases_only(
    publisher: Publisher, server: fakeredis.FakeServer
) -> None:
    assert publisher.refill(3).sent == 3
    assert publisher.refill(3).sent == 0
    assert [(m["task"], m["id"], m["args"], m["argsrepr"]) for m in messages(server, Queue.RUNS)] == [
        ("simulation.run", f"{id_}.1", [str(id_)], f"participant=t-{id_.hex[:3]} study=s-abc") for id_ in IDS
    ]
    assert (publisher.queue_depth(Queue.RUNS), publisher.queue_depth(Queue.CONTROL)) == (3, 0)


def test_stop_tasks_name_the_run_message_that_they_revoke(publisher: Publisher, server: fakeredis.FakeServer) -> None:
    publisher.enqueue_stop_tasks(IDS)
    wait_for_ids(server, Queue.CONTROL, STOPS)
    assert [(m["task"], m["args"]) for m in messages(server, Queue.CONTROL)] == [
        ("simulation.stop", [str(id_), f"{id_}.1"]) for id_ in IDS
    ]


def test_aborts_are_broadcast_in_batches(
    publisher: Publisher, server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "ABORT_BATCH", 2)
    listener = fakeredis.FakeRedis(server=server).pubsub()
    listener.psubscribe("*pidbox*")
    assert listener.get_message(timeout=1)["type"] == "psubscribe"
    publisher.enqueue_aborts(IDS)
    received = [wait_until(partial(listener.get_message, timeout=1), 10) for _ in range(2)]
    bodies = [json.loads(base64.b64decode(json.loads(message["data"])["body"])) for message in received]
    assert [(body["method"], body["arguments"]["participant_ids"]) for body in bodies] == [
        ("abort_participants", [str(id_) for id_ in IDS[:2]]),
        ("abort_participants", [str(IDS[2])]),
    ]


# -- batches -----------------------------------------------------------------------------------------------


def test_run_messages_after_the_first_batch_wait_for_the_response(
    publisher: Publisher, server: fakeredis.FakeServer, timers: list[threading.Timer]
) -> None:
    publisher.enqueue_refill(len(IDS))
    wait_for_ids(server, Queue.RUNS, RUNS[:2])
    (timer,) = wait_until(lambda: timers, 10)
    timer.run()
    wait_for_ids(server, Queue.RUNS, RUNS)


def test_stop_tasks_of_more_than_one_batch_wait_for_the_response(
    publisher: Publisher, server: fakeredis.FakeServer, timers: list[threading.Timer]
) -> None:
    publisher.enqueue_stop_tasks(IDS)
    publisher.enqueue_stop_tasks(IDS[:2])
    wait_for_ids(server, Queue.CONTROL, STOPS[:2])
    (timer,) = timers
    timer.run()
    wait_for_ids(server, Queue.CONTROL, [*STOPS[:2], *STOPS])


def test_run_messages_are_sent_at_once_if_no_thread_can_start(
    publisher: Publisher, server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    publisher.refill(1)
    monkeypatch.setattr(publisher_module, "PUBLISH_BATCH_SIZE", 1)
    monkeypatch.setattr(threading.Timer, "start", no_thread)
    publisher.enqueue_refill(len(IDS))
    wait_for_ids(server, Queue.RUNS, RUNS)


# -- failures ----------------------------------------------------------------------------------------------


def test_run_messages_remain_unpublished_while_the_broker_is_unavailable(
    publisher: Publisher, server: fakeredis.FakeServer, store: FakeStore
) -> None:
    server.connected = False
    assert publisher.refill(3) == (0, False, False)
    assert store.reserved == set()
    with pytest.raises(BROKER_ERRORS):
        publisher.ping()
    server.connected = True
    assert publisher.refill(3).sent == 3


@pytest.mark.parametrize(
    ("enqueue", "lost", "warning"),
    [
        ("enqueue_refill", "broker", "cannot publish run messages"),
        ("enqueue_refill", "store", "run messages remain unpublished: store unavailable"),
        ("enqueue_stop_tasks", "broker", "cannot publish stop tasks"),
        ("enqueue_stop_tasks", "store", "cannot publish stop tasks: store unavailable"),
        ("enqueue_aborts", "broker", "cannot publish aborts"),
        ("enqueue_refill", "code", "publishing failed"),
        ("enqueue_refill", "process", "messages not sent because the process is ending"),
    ],
)
def test_enqueue_logs_a_failure_and_raises_nothing(
    publisher: Publisher,
    server: fakeredis.FakeServer,
    store: FakeStore,
    caplog: pytest.LogCaptureFixture,
    enqueue: str,
    lost: str,
    warning: str,
) -> None:
    server.connected = lost != "broker"
    store.error = {"store": ServiceUnavailable("The store is unavailable."), "code": LookupError("a bug")}.get(lost)
    if lost == "process":
        publisher.close()
    with caplog.at_level("INFO", publisher_module.__name__):
        getattr(publisher, enqueue)(len(IDS) if enqueue == "enqueue_refill" else IDS)
        wait_until(lambda: warning in caplog.text, 10)
