"""Kombu's Redis channel without emulated acknowledgements."""

from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str

from understudy.queue.celery.foreign_messages import ForeignMessage, drop_message, read_envelope

#: Maximum messages taken in one turn of the loop, besides the one that BRPOP returned.
MAX_MESSAGES_PER_POLL = 16


class _QoS(virtual.QoS):  # type: ignore[misc]
    """Takes messages only while this process may claim; otherwise leaves them to other workers."""

    is_consuming: Callable[[], bool] = staticmethod(lambda: True)

    def can_consume(self) -> bool:
        # A pending BRPOP may already hold a message: the task takes it and rejects it with requeue.
        polling = bool(self.channel._in_poll)
        return super().can_consume() and (polling or not self.channel.active_queues or self.is_consuming())


class _NoAckChannel(virtual.Channel):  # type: ignore[misc]
    """Removes messages when it takes them, drops foreign ones, and survives the loss of its connection.

    Redis has no acknowledgements. Kombu emulates them with two more transactions per message. It also
    restores unacknowledged messages on close (a duplicate for each active run) and those of a killed worker
    an hour later. None of this is needed: the rows hold the state, and the sweeper republishes.
    """

    ack_emulation = False
    do_restore = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.QoS = _QoS

    def _brpop_read(self, **options: Any) -> bool:
        try:
            found = self._read_brpop_reply(options)
            if not found:
                raise Empty
            key, message = found
            queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self._deliver_unless_foreign(message, queue)
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        self._take_queued()
        return True

    def _read_brpop_reply(self, options: dict[str, Any]) -> Any:
        connection = self.client.connection
        try:
            return self.client.parse_response(connection, "BRPOP", **options)
        except self.connection_errors:
            # The next poll reconnects.
            connection.disconnect()
            raise

    def _take_queued(self) -> None:
        # BRPOP returned one message; take the queued ones too, instead of one per turn.
        room = min(self.qos.can_consume_max_estimate() or 0, MAX_MESSAGES_PER_POLL)
        for queue in self.active_queues if room and self.qos.is_consuming() else ():
            for message in self.client.rpop(self._q_for_pri(queue, 0), room) or ():
                self._deliver_unless_foreign(message, queue)
                room -= 1
            if not room:
                break

    def _deliver_unless_foreign(self, message: bytes, queue: str) -> None:
        try:
            envelope = read_envelope(message)
        except ForeignMessage as reason:
            drop_message("queue", queue, reason)
        else:
            self.connection._deliver(envelope, queue)

    def _handle_message(self, client: Any, r: Any) -> Any:
        payload = super()._handle_message(client, r)
        if bytes_to_str(payload["type"]).endswith("message"):
            try:
                read_envelope(payload["data"])
            except ForeignMessage as reason:
                drop_message("broadcast", bytes_to_str(payload["channel"]), reason)
                # Kombu delivers no empty message.
                payload["data"] = None
        return payload

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self.closed:
            super().basic_reject(delivery_tag, requeue=requeue)


class Channel(_NoAckChannel, redis.Channel):  # type: ignore[misc]
    """Connects to a server by its address."""


class SentinelChannel(_NoAckChannel, redis.SentinelChannel):  # type: ignore[misc]
    """Connects to the server that the Sentinels name."""


def install_channel(is_consuming: Callable[[], bool] = lambda: True) -> None:
    """Makes all Redis connections of this process use this channel.

    While `is_consuming` returns False, the process polls no queue; broadcasts still arrive.
    """
    redis.Transport.Channel = Channel
    redis.SentinelTransport.Channel = SentinelChannel
    _QoS.is_consuming = staticmethod(is_consuming)
