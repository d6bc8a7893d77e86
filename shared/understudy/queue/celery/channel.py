"""The broker's channel, as consumers of doorbells need it."""

from collections.abc import Callable
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

#: Messages that are taken in one turn of the loop, besides the one that was waited for.
MAX_MESSAGES_PER_POLL = 16


class _QoS(virtual.QoS):  # type: ignore[misc]
    """Takes messages while this process may act on them, and leaves them to others else."""

    is_consuming: Callable[[], bool] = staticmethod(lambda: True)

    def can_consume(self) -> bool:
        # What was asked for already may be on its way: it is taken, and given back.
        asked = bool(self.channel._in_poll)
        return super().can_consume() and (asked or not self.channel.active_queues or self.is_consuming())


class _NoAckChannel(virtual.Channel):  # type: ignore[misc]
    """A channel that takes messages for good, and survives the loss of its connection.

    Redis knows no acknowledging. Kombu acts it with two more transactions for each message, puts back what
    was not acknowledged when the channel is closed (a second message for each run that goes on), and what a
    killed worker had an hour later. Here, what was taken belongs to rows, and the sweeper looks after those.
    """

    ack_emulation = False
    do_restore = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.QoS = _QoS

    def _brpop_read(self, **options: Any) -> Any:
        # One message was waited for; more of them that are there come along, instead of one a turn.
        read = super()._brpop_read(**options)
        room = min(self.qos.can_consume_max_estimate() or 0, MAX_MESSAGES_PER_POLL)
        for queue in self.active_queues if room and self.qos.may_consume() else ():
            for message in self.client.rpop(self._q_for_pri(queue, 0), room) or ():
                self.connection._deliver(loads(bytes_to_str(message)), queue)
                room -= 1
            if not room:
                break
        return read

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self.closed:
            super().basic_reject(delivery_tag, requeue=requeue)


class Channel(_NoAckChannel, redis.Channel):  # type: ignore[misc]
    """Of a server whose address is known."""


class SentinelChannel(_NoAckChannel, redis.SentinelChannel):  # type: ignore[misc]
    """Of the server that Sentinels name."""


def install_channel(may_consume: Callable[[], bool] = lambda: True) -> None:
    """From now on, connections of this process have this channel.

    No message of a queue is asked for while `is_consuming` says no; broadcasts come all the same. RabbitMQ
    asks nobody: what comes at such a time is given back by the task.
    """
    redis.Transport.Channel = Channel
    redis.SentinelTransport.Channel = SentinelChannel
    _QoS.is_consuming = staticmethod(may_consume)
