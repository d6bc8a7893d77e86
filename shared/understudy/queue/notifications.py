"""Notices: "look at these participants again". A hint that may be lost: the row decides."""

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
#: After so long without a word the broker is asked whether it is there.
PING_INTERVAL_S = 5.0
#: Ids in one notice, so that none grows without bound.
_BATCH = 500


class Notifier:
    """Tells all processes that participants became terminal. Thread-safe, never blocks, never raises.

    Without a URL nobody is told: whoever waits looks every few seconds.
    """

    def __init__(self, notices_url: str) -> None:
        self._thread: threading.Thread | None = None
        if not notices_url:
            return
        self._redis = connect(
            notices_url,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=_CONNECT_TIMEOUT_S,
            # Once more: a connection that was kept may have gone. Then it is lost, as hints may be.
            retry=redis.retry.Retry(NoBackoff(), 1),
        )
        self._waiting: queue.SimpleQueue[UUID | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._publish, name="notices", daemon=True)
        self._thread.start()

    def enqueue(self, ids: Iterable[UUID]) -> None:
        """Tell of `ids`, in the background."""
        for id_ in ids if self._thread else ():
            self._waiting.put(id_)

    def close(self) -> None:
        """Tell what is waiting, then stop."""
        if self._thread is None:
            return
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
                    with metrics.time_broker_call("notice"), faults.fault_site("notice.send"):
                        self._redis.publish(NOTIFICATION_CHANNEL, json.dumps(names))
            except (redis.RedisError, OSError) as error:
                log.debug("notification lost; waiters will poll: %s", error)
            except Exception:
                # Without this thread there would be no notices at all any more.
                log.exception("notification lost; waiters will poll")


async def subscribe(notices_url: str) -> AsyncIterator[list[UUID]]:
    """Notices as they come, from now on. Ends with a RedisError or OSError when the broker goes away.

    One that vanishes without a word is noticed too: when it is quiet for QUIET_S it is asked for a sign of
    life, and has as long again to give it.
    """
    client = connect_async(
        notices_url,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=_CONNECT_TIMEOUT_S,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
    )
    async with client, client.pubsub() as subscription:
        await subscription.subscribe(NOTIFICATION_CHANNEL)
        asked = False
        while True:
            # Not `listen()`: that one asks for a sign of life between messages only.
            message = await subscription.get_message(timeout=PING_INTERVAL_S)
            if message is None:
                if asked:
                    raise redis.ConnectionError(f"the broker gave no sign of life for {PING_INTERVAL_S} s")
                await subscription.ping()
            elif message["type"] == "subscribe":
                # Whoever waited while nobody listened must look now.
                yield []
            elif message["type"] == "message":
                yield [UUID(name) for name in json.loads(message["data"])]
            asked = message is None
