"""RabbitMQ's side of the broker: connections that notice when nobody answers, batches that are confirmed."""

import logging
from typing import Any

import amqp
from kombu.transport import pyamqp

log = logging.getLogger(__name__)


class Channel(pyamqp.Channel):  # type: ignore[misc]
    """A channel that publishes many messages and waits once for RabbitMQ's word that it has them.

    What it acknowledges after its connection broke goes nowhere: RabbitMQ has given those messages to others,
    who find nothing to claim.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._confirming = False
        self._last_tag = 0
        self._unconfirmed: set[int] = set()
        self._refused = 0
        self.events["basic_ack"].add(self._on_ack)
        self.events["basic_nack"].add(self._on_nack)

    def basic_publish(self, msg: Any, **options: Any) -> Any:
        """As the one of py-amqp, counted while confirms are on."""
        options["timeout"] = options.get("timeout") or self.connection.answer_timeout_s
        result = self._basic_publish(msg, **options)
        if self._confirming:
            self._last_tag += 1
            self._unconfirmed.add(self._last_tag)
        return result

    def create_publish_batch(self, max_size: int) -> "_Batch":  # noqa: ARG002 - kombu's signature
        """What `Producer.batch` asks for."""
        if not self._confirming:
            self.confirm_select()
            self._confirming = True
        return _Batch(self)

    def wait_for_confirms(self) -> None:
        """Wait until RabbitMQ has all that was published. Raises MessageNacked if it refused some of it."""
        while self._unconfirmed:
            if self.connection is None:
                raise amqp.RecoverableConnectionError("the connection broke before all was confirmed")
            self.connection.drain_events()
        refused, self._refused = self._refused, 0
        if refused:
            raise amqp.exceptions.MessageNacked

    def basic_ack(self, delivery_tag: int, **options: Any) -> None:
        try:
            super().basic_ack(delivery_tag, **options)
        except (OSError, amqp.AMQPError) as error:
            log.debug("a message was not acknowledged, it comes again and is void: %s", error)

    def basic_reject(self, delivery_tag: int, requeue: bool = False, **options: Any) -> None:
        try:
            super().basic_reject(delivery_tag, requeue=requeue, **options)
        except (OSError, amqp.AMQPError) as error:
            log.debug("a message was not given back, RabbitMQ has taken it back itself: %s", error)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._unconfirmed = {other for other in self._unconfirmed if other > tag}
        else:
            self._unconfirmed.discard(tag)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused += 1
        self._on_ack(tag, multiple)


class _Batch:
    """Published at once, confirmed at the end."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def publish(self, message: Any, **options: Any) -> Any:
        return self.channel.basic_publish(message, **options)

    def flush(self) -> None:
        self.channel.wait_for_confirms()

    def discard(self) -> None:
        """What was published is; a message too many is void."""

    def close(self) -> None:
        """Nothing is held."""


class Connection(pyamqp.Connection):  # type: ignore[misc]
    """A connection that is given up when an answer takes longer than `answer_timeout_s`.

    `publish_only`: nobody reads it between questions, so that it has to look by itself whether it still is.
    """

    Channel = Channel

    def __init__(self, *args: Any, answer_timeout_s: float, only_publishes: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self.answer_timeout_s = answer_timeout_s
        self.publish_only = only_publishes

    def blocking_read(self, timeout: float | None = None) -> Any:
        # Whoever waits for messages says for how long; without a time, an answer is waited for.
        if timeout is not None:
            return super().blocking_read(timeout)
        try:
            return super().blocking_read(self.answer_timeout_s)
        except TimeoutError:
            # A late answer would be taken for that to another question.
            self.collect()
            raise amqp.RecoverableConnectionError(
                f"RabbitMQ gave no answer for {self.answer_timeout_s:g} s"
            ) from None


class Transport(pyamqp.Transport):  # type: ignore[misc]
    """Kombu's transport, with these connections."""

    Connection = Connection

    def establish_connection(self) -> Any:
        """Connect to the host whose turn it is. With TLS, it must have a certificate for its very name."""
        if isinstance(self.client.ssl, dict):
            # Kombu would keep the first host's name for all hosts of a cluster.
            self.client.ssl = self.client.ssl | {"server_hostname": self.client.hostname}
        return super().establish_connection()

    def verify_connection(self, connection: Any) -> bool:
        """Is it still there? One that only publishes reads nothing by itself, its end neither."""
        if not super().verify_connection(connection):
            return False
        if connection.only_publishes:
            try:
                connection.drain_events(timeout=0)
            except TimeoutError:
                return True
            except (OSError, amqp.AMQPError):
                connection.collect()
                return False
        return True
