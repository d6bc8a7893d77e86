"""Kombu's transport for RabbitMQ, with answer timeouts and confirmed batches."""

import logging
from typing import Any

import amqp
from kombu.transport import pyamqp

log = logging.getLogger(__name__)


class Channel(pyamqp.Channel):  # type: ignore[misc]
    """Publishes many messages, then waits once until RabbitMQ confirms them.

    Ignores errors of acknowledgements on a broken connection: RabbitMQ redelivers those messages, and they
    claim nothing.
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
        """Publishes like py-amqp; counts the message while confirms are on."""
        options["timeout"] = options.get("timeout") or self.connection.answer_timeout_s
        result = self._basic_publish(msg, **options)
        if self._confirming:
            self._last_tag += 1
            self._unconfirmed.add(self._last_tag)
        return result

    def create_publish_batch(self, max_size: int) -> "_Batch":  # noqa: ARG002 - kombu's signature
        """Returns the batch that `Producer.batch` uses; turns confirms on."""
        if not self._confirming:
            self.confirm_select()
            self._confirming = True
        return _Batch(self)

    def wait_for_confirms(self) -> None:
        """Waits until RabbitMQ confirms all published messages. Raises MessageNacked if it refused any."""
        while self._unconfirmed:
            if self.connection is None:
                raise amqp.RecoverableConnectionError("the connection broke before RabbitMQ confirmed all messages")
            self.connection.drain_events()
        refused, self._refused = self._refused, 0
        if refused:
            raise amqp.exceptions.MessageNacked

    def message_to_python(self, raw_message: Any) -> Any:
        # Kombu would decompress a body of any size before anything checks the message.
        (raw_message.properties.get("application_headers") or {}).pop("compression", None)
        return super().message_to_python(raw_message)

    def basic_ack(self, delivery_tag: int, **options: Any) -> None:
        try:
            super().basic_ack(delivery_tag, **options)
        except (OSError, amqp.AMQPError) as error:
            log.debug("cannot acknowledge a message; RabbitMQ redelivers it as a stale one: %s", error)

    def basic_reject(self, delivery_tag: int, requeue: bool = False, **options: Any) -> None:
        try:
            super().basic_reject(delivery_tag, requeue=requeue, **options)
        except (OSError, amqp.AMQPError) as error:
            log.debug("cannot reject a message; RabbitMQ requeues it: %s", error)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._unconfirmed = {other for other in self._unconfirmed if other > tag}
        else:
            self._unconfirmed.discard(tag)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused += 1
        self._on_ack(tag, multiple)


class _Batch:
    """Publishes immediately; `flush` waits for the confirms."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def publish(self, message: Any, **options: Any) -> Any:
        return self.channel.basic_publish(message, **options)

    def flush(self) -> None:
        self.channel.wait_for_confirms()

    def discard(self) -> None:
        """Does nothing: published messages stay, and a duplicate claims nothing."""

    def close(self) -> None:
        """Does nothing: the batch holds no resources."""


class Connection(pyamqp.Connection):  # type: ignore[misc]
    """Closes itself when an answer takes longer than `answer_timeout_s`.

    No loop reads a `publish_only` connection, so `verify_connection` also reads from it to find a closed one.
    """

    Channel = Channel

    def __init__(self, *args: Any, answer_timeout_s: float, publish_only: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self.answer_timeout_s = answer_timeout_s
        self.publish_only = publish_only

    def blocking_read(self, timeout: float | None = None) -> Any:
        # A wait for messages has a timeout. Without one, the caller waits for an answer.
        if timeout is not None:
            return super().blocking_read(timeout)
        try:
            return super().blocking_read(self.answer_timeout_s)
        except TimeoutError:
            # A late answer would be read as the answer to the next request.
            self.collect()
            raise amqp.RecoverableConnectionError(
                f"RabbitMQ did not answer within {self.answer_timeout_s:g} s"
            ) from None


class Transport(pyamqp.Transport):  # type: ignore[misc]
    """Kombu's transport with `Connection`."""

    Connection = Connection

    def establish_connection(self) -> Any:
        """Connects to the current host. With TLS, its certificate must name this host."""
        if isinstance(self.client.ssl, dict):
            # Kombu would check all hosts of a cluster against the first host's name.
            self.client.ssl = self.client.ssl | {"server_hostname": self.client.hostname}
        return super().establish_connection()

    def verify_connection(self, connection: Any) -> bool:
        """Returns whether the connection is open; reads from a publish-only one to detect its end."""
        if not super().verify_connection(connection):
            return False
        if connection.publish_only:
            try:
                connection.drain_events(timeout=0)
            except TimeoutError:
                return True
            except (OSError, amqp.AMQPError):
                connection.collect()
                return False
        return True
