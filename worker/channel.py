"""The broker's channel, as consumers of doorbells need it."""

from kombu.transport import redis


class Channel(redis.Channel):  # type: ignore[misc]
    """A channel that survives the loss of its connection.

    Kombu's puts back what was not acknowledged when it is closed: a second message for each run that goes on.
    And it acknowledges later what came by a connection that is gone. Without a broker, both end the worker
    with an AttributeError. What was not acknowledged belongs to rows, and the sweeper looks after those.
    """

    do_restore = False

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        if not self.closed:
            super().basic_ack(delivery_tag, multiple=multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self.closed:
            super().basic_reject(delivery_tag, requeue=requeue)


def use() -> None:
    """From now on, connections of this process have this channel."""
    redis.Transport.Channel = Channel
