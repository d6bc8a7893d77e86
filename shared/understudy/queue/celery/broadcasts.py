"""Remote-control commands to all workers at once."""

from collections.abc import Mapping
from typing import Any

from celery import Celery


def broadcast(celery: Celery, command: str, arguments: Mapping[str, Any]) -> None:
    """Send `command` to all workers that listen just now.

    Raises one of BROKER_ERRORS when the broker takes it within some seconds neither on the connection that is
    there nor on a new one. Celery's own `control.broadcast` tries for as long as the broker is away, and a
    process that is told to go would wait for it.
    """
    mailbox = celery.control.mailbox
    to_all = {"destination": None, "pattern": None, "matcher": None}
    with celery.producer_pool.acquire(block=True) as producer:
        publish = producer.connection.ensure(producer, producer.publish, max_retries=1)
        publish(
            {"method": command, "arguments": arguments} | to_all,
            exchange=mailbox.exchange.name,
            declare=[mailbox.exchange],
            headers={"clock": mailbox.clock.forward(), "expires": 0},
            serializer=mailbox.serializer,
            retry=False,
        )
