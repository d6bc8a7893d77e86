"""Brokers for tests: reads their queues, kills and restarts them."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import amqp

from tests.rabbitmq_server import RabbitServer
from tests.servers import wait_until
from understudy.deploy.broker import BrokerServer
from understudy.domain.broker_address import parse_broker_url
from understudy.domain.queues import Queue
from understudy.queue.redis_clients import connect


def empty(url: str) -> None:
    """Removes all messages."""
    if parse_broker_url(url).is_redis:
        with connect(url) as client:
            client.flushall()
        return
    for queue in Queue:
        # A missing queue closes the channel.
        with _channel(url) as channel, contextlib.suppress(amqp.NotFound):
            channel.queue_purge(str(queue))


def depth(url: str, queue: Queue) -> int:
    """Returns the number of messages in the queue."""
    if parse_broker_url(url).is_redis:
        with connect(url) as client:
            return int(client.llen(str(queue)))
    with _channel(url) as channel, contextlib.suppress(amqp.NotFound):
        return int(channel.queue_declare(str(queue), passive=True).message_count)
    return 0


def headers(url: str, queue: Queue) -> list[dict[str, Any]]:
    """Returns the headers of the messages in the queue, which stay there."""
    if parse_broker_url(url).is_redis:
        with connect(url) as client:
            return [json.loads(one)["headers"] for one in client.lrange(str(queue), 0, -1)]
    found: list[dict[str, Any]] = []
    # Unacknowledged messages return when the connection is closed.
    with _channel(url) as channel, contextlib.suppress(amqp.NotFound):
        while message := channel.basic_get(str(queue)):
            found.append(message.properties["application_headers"])
    return found


@contextlib.contextmanager
def _channel(url: str) -> Iterator[amqp.Channel]:
    address = parse_broker_url(url)
    (host, port), *_ = address.hosts
    with amqp.Connection(f"{host}:{port}", userid=address.username, password=address.password) as connection:
        yield connection.channel()


class DedicatedBroker(Protocol):
    """A broker of one test, to kill and restart."""

    @property
    def url(self) -> str: ...

    def kill(self) -> None:
        """Ends it as a power failure does."""

    def start(self) -> None:
        """Starts it again; returns when it answers."""

    def delete_data(self) -> None:
        """Removes its data while it does not run."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class DedicatedValkey:
    """A Valkey of one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = BrokerServer(folder)

    @property
    def url(self) -> str:
        return self._server.url

    def kill(self) -> None:
        child = self._server.child
        child.kill()
        wait_until(lambda: not child.running)

    def start(self) -> None:
        child = self._server.child
        child.start()
        wait_until(lambda: child.ready)

    def delete_data(self) -> None:
        shutil.rmtree(self._folder / "broker" / "appendonlydir")

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()


def dedicated_broker(kind: str, folder: Path) -> DedicatedBroker:
    """Returns a broker that is not yet started; `kind` as in `pytest --broker`."""
    return RabbitServer() if kind == "rabbitmq" else DedicatedValkey(folder)
