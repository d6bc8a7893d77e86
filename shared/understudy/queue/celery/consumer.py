"""Celery's consumer of run messages, stop tasks and broadcasts."""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

from understudy.queue.celery.foreign_messages import ForeignMessage, check_task, drop_message
from understudy.queue.celery.mailbox import CheckedNode
from understudy.queue.celery.polling import MAX_MESSAGES_PER_POLL, POLL_S, PolledConsumer

log = logging.getLogger(__name__)

#: Heartbeat interval of RabbitMQ in seconds; after two intervals without data RabbitMQ is unavailable.
HEARTBEAT_S = 20
_DELAYED = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Drops foreign messages; sends heartbeats; does not declare the 28 unused queues of Celery's delayed delivery.

    On RabbitMQ it takes run messages only while the pool has a free slot.
    """

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        """Celery's steps without delayed delivery."""

        default_steps = [step for step in CeleryConsumer.Blueprint.default_steps if step != _DELAYED]  # noqa: RUF012

    def __init__(self, *args: Any, app: Any, **options: Any) -> None:
        app.control.mailbox.node_cls = CheckedNode
        super().__init__(*args, app=app, **options | {"amqheartbeat": HEARTBEAT_S})
        # The control worker has one queue and threads: its prefetch is its number of slots.
        self._polls = self.conninfo.transport.driver_type == "amqp" and hasattr(self.pool, "count_free_slots")
        if self._polls:
            app.amqp.Consumer = PolledConsumer
            self.pool.on_free_slot = self._take

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        if self._polls:
            # Celery's loop cancels this timer when the connection breaks.
            hub.call_repeatedly(POLL_S, self._take)

    def _take(self) -> None:
        # A job may end while there is no connection.
        if self.connection is None or self.task_consumer is None:
            return
        taken = self.task_consumer.take(self.pool.count_free_slots)
        if taken == MAX_MESSAGES_PER_POLL:
            self.hub.call_soon(self._take)
        if taken:
            # With TLS, broadcasts that arrived with the messages are in a buffer that does not wake the loop.
            self.connection.transport.on_readable(self.connection.connection, self.hub)

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
