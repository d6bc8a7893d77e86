"""Tells Celery's tools of published messages: one event for each, all of a batch in one message.

Celery's `task_send_sent_event` would publish one message more for each, which halves the rate of a publisher.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

from celery import Celery
from celery.events.event import Event, get_exchange
from celery.utils.time import utcoffset


class Sent(NamedTuple):
    """A published message."""

    task: str
    id: str
    #: The text that tools show instead of its arguments.
    description: str
    queue: str


def publish_sent_events(celery: Celery, producer: Any, messages: Sequence[Sent], sent_at: float) -> None:
    """Publishes the events of `messages`, sent at that Unix time. They may be lost: only tools read them.

    Raises one of BROKER_ERRORS.
    """
    hostname = f"publisher@{socket.gethostname()}"
    exchange = get_exchange(producer.connection, name=celery.conf.event_exchange)
    events = [
        Event(
            "task-sent",
            hostname=hostname,
            utcoffset=utcoffset(),
            pid=os.getpid(),
            clock=celery.clock.forward(),
            timestamp=sent_at,
            uuid=message.id,
            name=message.task,
            args=message.description,
            kwargs="",
            retries=0,
            eta=None,
            expires=None,
            queue=message.queue,
            exchange="",
            routing_key=message.queue,
        )
        for message in messages
    ]
    if events:
        producer.publish(
            events,
            exchange=exchange.name,
            routing_key="task.multi",
            declare=[exchange],
            serializer=celery.conf.event_serializer,
            headers={"hostname": hostname},
            delivery_mode="transient",
            retry=False,
        )
