"""Notifications: hints that rows of participants changed. They may be lost: the row decides."""

import json
import logging
import queue
import threading
from collections.abc import AsyncIterator, Iterable
from uuid import UUID

import redis
import redis.asyncio.retry
import redis.retry
from redis.backoff import NoBackoff

from understudy import faults
from understudy.queue.names import NOTIFICATION_CHANNEL
from understudy.queue.redis_clients import connect, connect_async
from understudy.telemetry import metrics

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 2
#: A subscriber pings the broker after this long without a message.
PING_INTERVAL_S = 5.0
#: Maximum ids in one notification.
_BATCH = 500


class Notifier:
    """Notifies all processes that participants became terminal. Thread-safe, never blocks, never raises.

    Without a URL it publishes nothing: waiters poll every few seconds.
    """

    def __init__(self, notices_url: str) -> None:
        self._thread: threading.Thread | None = None
        if not notices_url:
            return
        self._redis = connect(
            notices_url,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=_CONNECT_TIMEOUT_S,
            # One retry: a pooled connection may be broken. After that the hint is lost.
            retry=redis.retry.Retry(NoBackoff(), 1),
        )
        self._waiting: queue.SimpleQueue[UUID | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._publish, name="notices", daemon=True)
        self._thread.start()

    def enqueue(self, ids: Iterable[UUID]) -> None:
        """Publishes a notification for `ids` in the background."""
        for id_ in ids if self._thread else ():
            self._waiting.put(id_)

    def close(self) -> None:
        """Publishes what is queued, then stops."""
        if self._thread is None:
            return
        self._waiting.put(None)
        self._thread.join(timeout=2 * _CONNECT_TIMEOUT_S)
        self._redis.close()

    def _publish(self) -> None:
        is_open = True
        while is_open:
            batch = [self._waiting.get()]
            while not self._waiting.empty() and len(batch) < _BATCH:
                batch.append(self._waiting.get())
            is_open = None not in batch
            names = [str(id_) for id_ in batch if id_ is not None]
            try:
                if names:
                    with metrics.time_broker_call("notice"), faults.fault_site("notice.send"):
                        self._redis.publish(NOTIFICATION_CHANNEL, json.dumps(names))
            except (redis.RedisError, OSError) as error:
                log.debug("notification lost; waiters will poll: %s", error)
            except Exception:
                # If this thread ended, the process would publish no more notifications.
                log.exception("notification lost; waiters will poll")


async def subscribe(notices_url: str) -> AsyncIterator[list[UUID]]:
    """Yields the ids of each notification; an empty list means that waiters must poll once.

    Raises RedisError or OSError when the broker is unavailable. To detect a silent broker, it pings after
    PING_INTERVAL_S without a message and waits as long again for the reply.
    """
    client = connect_async(
        notices_url,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=_CONNECT_TIMEOUT_S,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
    )
    async with client, client.pubsub() as subscription:
        await subscription.subscribe(NOTIFICATION_CHANNEL)
        pinged = False
        while True:
            # Not `listen()`: it checks the connection only between messages.
            message = await subscription.get_message(timeout=PING_INTERVAL_S)
            if message is None:
                if pinged:
                    raise redis.ConnectionError(f"no answer to a ping within {PING_INTERVAL_S} s")
                await subscription.ping()
            elif message["type"] == "subscribe":
                # Notifications sent before the subscription are lost: waiters must poll.
                yield []
            elif message["type"] == "message":
                yield [UUID(name) for name in json.loads(message["data"])]
            pinged = message is None
