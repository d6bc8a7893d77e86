"""Notifications over a real broker that becomes unavailable."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis

from understudy.deploy.broker import BrokerServer
from understudy.queue import notifications
from understudy.queue.notifications import Notifier, subscribe

PATIENCE_S = 60


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerServer]:
    with BrokerServer(tmp_path / "broker") as server:
        yield server


@contextlib.asynccontextmanager
async def listening(broker_url: str) -> AsyncIterator[AsyncIterator[list[UUID]]]:
    """A subscription to notifications."""
    async with asyncio.timeout(PATIENCE_S):
        coming = subscribe(broker_url)
        assert await anext(coming) == []
        yield coming


def test_notification_arrives_after_a_long_silence(broker: BrokerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "PING_INTERVAL_S", 0.05)
    notifier = Notifier(broker.url)

    async def scene() -> None:
        id_ = uuid4()
        async with listening(broker.url) as coming:
            received = asyncio.ensure_future(anext(coming))
            await asyncio.sleep(0.3)
            assert not received.done()
            notifier.enqueue([id_])
            assert await received == [id_]

    asyncio.run(scene())
    notifier.close()


def test_frozen_broker_is_detected(broker: BrokerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "PING_INTERVAL_S", 0.2)

    async def scene() -> None:
        async with listening(broker.url) as coming:
            # Frozen, it keeps the connection and sends nothing, like a machine without power.
            os.kill(broker.child.pid, signal.SIGSTOP)
            with pytest.raises(redis.ConnectionError):
                await anext(coming)
            # A new connection gets no answer either.
            with pytest.raises((redis.RedisError, OSError)):
                await anext(subscribe(broker.url))
            os.kill(broker.child.pid, signal.SIGCONT)
            async with listening(broker.url):
                pass

    try:
        asyncio.run(scene())
    finally:
        os.kill(broker.child.pid, signal.SIGCONT)
