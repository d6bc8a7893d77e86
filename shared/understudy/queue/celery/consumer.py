"""Celery's consumer of run messages, stop tasks and broadcasts."""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

from understudy.queue.celery.foreign_messages import ForeignMessage, check_task, drop_message
from understudy.queue.celery.mailbox import CheckedNode

log = logging.getLogger(__name__)

#: Heartbeat interval of RabbitMQ in seconds; after two intervals without data RabbitMQ is unavailable.
HEARTBEAT_S = 20
_DELAYED = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Drops foreign messages; sends heartbeats; does not declare the 28 unused queues of Celery's delayed delivery."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        """Celery's steps without delayed delivery."""

        default_steps = [step for step in CeleryConsumer.Blueprint.default_steps if step != _DELAYED]  # noqa: RUF012

    def __init__(self, *args: Any, app: Any, **options: Any) -> None:
        app.control.mailbox.node_cls = CheckedNode
        super().__init__(*args, app=app, **options | {"amqheartbeat": HEARTBEAT_S})

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **options)

        def handle_unless_foreign(message: Any) -> None:
            try:
                check_task(message, self.strategies)
            except ForeignMessage as reason:
                drop_message("queue", str((message.delivery_info or {}).get("routing_key")), reason)
                message.reject_log_error(log, self.connection_errors)
            else:
                handle(message)

        return handle_unless_foreign

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        # Both consumers of a worker call it; kombu does not acknowledge a broadcast.
        drop_message("queue", str((message.delivery_info or {}).get("routing_key")), repr(exc))
        message.ack_log_error(log, self.connection_errors)
