"""Notifications over a fake Redis: what is published, in which batches, and what a lost broker costs."""

import json
from typing import Any
from uuid import UUID, uuid4

import fakeredis
import pytest
import redis

from tests.servers import wait_until
from understudy.queue import notifications
from understudy.queue.names import NOTIFICATION_CHANNEL
from understudy.queue.notifications import Notifier, subscribe

pytestmark = pytest.mark.anyio
URL = "redis://fake"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeServer:
    """A fake Redis that all clients of this test share."""
    shared = fakeredis.FakeServer()
    monkeypatch.setattr(notifications, "connect", lambda *_, **__: fakeredis.FakeRedis(server=shared))
    monkeypatch.setattr(notifications, "connect_async", lambda *_, **__: fakeredis.FakeAsyncRedis(server=shared))
    return shared


def published(server: fakeredis.FakeServer, ids: list[UUID]) -> list[list[UUID]]:
    """The ids of each notification that a notifier publishes for `ids`."""
    listener = fakeredis.FakeRedis(server=server).pubsub()
    listener.subscribe(NOTIFICATION_CHANNEL)
    assert listener.get_message(timeout=1)["type"] == "subscribe"
    notifier = Notifier(URL)
    notifier.enqueue(ids)
    notifier.close()
    batches: list[Any] = []
    while message := listener.get_message(timeout=0.1):
        batches.append([UUID(name) for name in json.loads(message["data"])])
    return batches


def test_notifier_publishes_each_id_once_and_in_order(server: fakeredis.FakeServer) -> None:
    ids = [uuid4() for _ in range(1_200)]
    batches = published(server, ids)
    assert [id_ for batch in batches for id_ in batch] == ids
    assert max(map(len, batches)) <= notifications._BATCH


def test_notifier_without_ids_publishes_nothing(server: fakeredis.FakeServer) -> None:
    assert published(server, []) == []


def test_notifier_without_a_url_starts_no_thread() -> None:
    notifier = Notifier("")
    notifier.enqueue([uuid4()])
    notifier.close()
    assert notifier._thread is None


def test_notifier_drops_ids_while_the_broker_is_lost_and_publishes_later_ones(
    server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier(URL)
    server.connected = False
    with caplog.at_level("DEBUG", notifications.__name__):
        notifier.enqueue([uuid4()])
        wait_until(lambda: "notification lost" in caplog.text, 10)
    server.connected = True
    notifier.close()
    id_ = uuid4()
    assert published(server, [id_]) == [[id_]]


async def test_subscribe_yields_an_empty_notification_and_then_ids(server: fakeredis.FakeServer) -> None:
    id_ = uuid4()
    stream = subscribe(URL)
    assert await anext(stream) == [], "its waiters read the store"
    notifier = Notifier(URL)
    notifier.enqueue([id_])
    assert await anext(stream) == [id_]
    notifier.close()
    await stream.aclose()  # type: ignore[attr-defined]


async def test_subscribe_to_a_lost_broker_raises(server: fakeredis.FakeServer) -> None:
    server.connected = False
    with pytest.raises((redis.RedisError, OSError)):
        await anext(subscribe(URL))
