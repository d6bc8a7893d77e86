"""Notices between processes, by a real broker that comes and goes."""

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
    """Notices, subscribed to."""
    async with asyncio.timeout(PATIENCE_S):
        coming = subscribe(broker_url)
        assert await anext(coming) == []
        yield coming


def test_a_notice_arrives_also_after_a_long_quiet_time(broker: BrokerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "PING_INTERVAL_S", 0.05)
    notifier = Notifier(broker.url)

    async def scene() -> None:
        one, other = uuid4(), uuid4()
        async with listening(broker.url) as coming:
            for id_ in (one, other):
                next_one = asyncio.ensure_future(anext(coming))
                await asyncio.sleep(0.3)
                assert not next_one.done()
                notifier.enqueue([id_])
                assert await next_one == [id_]

    asyncio.run(scene())
    notifier.close()


def test_a_broker_that_vanishes_without_a_word_is_noticed(
    broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "PING_INTERVAL_S", 0.2)

    async def scene() -> None:
        async with listening(broker.url) as coming:
            # Frozen, it keeps the connection and says nothing: as one does whose machine lost its power.
            os.kill(broker.child.pid, signal.SIGSTOP)
            with pytest.raises(redis.ConnectionError):
                await anext(coming)
            # Neither does it answer who comes anew.
            with pytest.raises((redis.RedisError, OSError)):
                await anext(subscribe(broker.url))
            os.kill(broker.child.pid, signal.SIGCONT)
            async with listening(broker.url):
                pass

    try:
        asyncio.run(scene())
    finally:
        os.kill(broker.child.pid, signal.SIGCONT)
