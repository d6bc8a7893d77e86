"""Notices: "look at these participants again". A hint that may be lost: the row decides."""

import json
import logging
import queue
import threading
from collections.abc import AsyncIterator, Iterable
from uuid import UUID

import redis
import redis.asyncio

from shared.queue.names import NOTICE_CHANNEL

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 2
#: Ids in one notice, so that none grows without bound.
_BATCH = 500


class Notifier:
    """Tells all processes that participants became terminal. Thread-safe, never blocks, never raises."""

    def __init__(self, broker_url: str) -> None:
        self._redis = redis.Redis.from_url(
            broker_url, socket_connect_timeout=_CONNECT_TIMEOUT_S, socket_timeout=_CONNECT_TIMEOUT_S
        )
        self._waiting: queue.SimpleQueue[UUID | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._publish, name="notices", daemon=True)
        self._thread.start()

    def publish_soon(self, ids: Iterable[UUID]) -> None:
        """Tell of `ids`, in the background."""
        for id_ in ids:
            self._waiting.put(id_)

    def close(self) -> None:
        """Tell what is waiting, then stop."""
        self._waiting.put(None)
        self._thread.join(timeout=2 * _CONNECT_TIMEOUT_S)
        self._redis.close()

    def _publish(self) -> None:
        going = True
        while going:
            batch = [self._waiting.get()]
            while not self._waiting.empty() and len(batch) < _BATCH:
                batch.append(self._waiting.get())
            going = None not in batch
            names = [str(id_) for id_ in batch if id_ is not None]
            try:
                if names:
                    self._redis.publish(NOTICE_CHANNEL, json.dumps(names))
            except (redis.RedisError, OSError) as error:
                log.debug("a notice was lost, waiters will poll: %s", error)


async def listen(broker_url: str) -> AsyncIterator[list[UUID]]:
    """Notices as they come, from now on. Ends with a RedisError or OSError when the broker goes away."""
    # Reads wait for as long as nothing happens: no timeout on the socket, a ping now and then instead.
    client = redis.asyncio.Redis.from_url(
        broker_url,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=None,
        health_check_interval=10,
    )
    async with client, client.pubsub() as subscription:
        await subscription.subscribe(NOTICE_CHANNEL)
        async for message in subscription.listen():
            if message["type"] == "subscribe":
                # Whoever waited while nobody listened must look now.
                yield []
            elif message["type"] == "message":
                yield [UUID(name) for name in json.loads(message["data"])]
