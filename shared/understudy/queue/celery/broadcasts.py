"""Publishes remote-control commands to all workers."""

from collections.abc import Mapping
from typing import Any

from celery import Celery


def broadcast(celery: Celery, command: str, arguments: Mapping[str, Any]) -> None:
    """Sends `command` to all workers that are connected.

    Raises one of BROKER_ERRORS if both the current connection and a new one fail within seconds. Celery's
    `control.broadcast` retries for as long as the broker is unavailable, which would delay a shutdown.
    """
    mailbox = celery.control.mailbox
    all_workers = {"destination": None, "pattern": None, "matcher": None}
    with celery.producer_pool.acquire(block=True) as producer:
        publish = producer.connection.ensure(producer, producer.publish, max_retries=1)
        publish(
            {"method": command, "arguments": arguments} | all_workers,
            exchange=mailbox.exchange.name,
            declare=[mailbox.exchange],
            headers={"clock": mailbox.clock.forward(), "expires": 0},
            serializer=mailbox.serializer,
            retry=False,
        )
