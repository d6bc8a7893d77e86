"""The broker's channel, as consumers of doorbells need it."""

from collections.abc import Callable

from kombu.transport import redis


class _QoS(redis.QoS):  # type: ignore[misc]
    """Takes messages while this process may act on them, and leaves them to others else."""

    may_consume: Callable[[], bool] = staticmethod(lambda: True)

    def can_consume(self) -> bool:
        # What was asked for already may be on its way: it is taken, and given back.
        asked = bool(self.channel._in_poll)
        return super().can_consume() and (asked or not self.channel.active_queues or self.may_consume())


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that survives the loss of its connection.

    Kombu's puts back what was not acknowledged when it is closed: a second message for each run that goes on.
    And it acknowledges later what came by a connection that is gone. Without a broker, both end the worker
    with an AttributeError. What was not acknowledged belongs to rows, and the sweeper looks after those.
    """

    QoS = _QoS
    do_restore = False

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        if not self.closed:
            super().basic_ack(delivery_tag, multiple=multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self.closed:
            super().basic_reject(delivery_tag, requeue=requeue)


def use(may_consume: Callable[[], bool] = lambda: True) -> None:
    """From now on, connections of this process have this channel.

    No message of a queue is asked for while `may_consume` says no; broadcasts come all the same.
    """
    redis.Transport.Channel = Channel
    _QoS.may_consume = staticmethod(may_consume)
