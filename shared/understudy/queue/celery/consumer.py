"""Celery's consumer for RabbitMQ."""

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

#: Heartbeat interval in seconds; after two intervals without data RabbitMQ is unavailable.
HEARTBEAT_S = 20
_DELAYED = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Sends heartbeats; does not declare the 28 unused queues of Celery's delayed delivery."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        """Celery's steps without delayed delivery."""

        default_steps = [step for step in CeleryConsumer.Blueprint.default_steps if step != _DELAYED]  # noqa: RUF012

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"amqheartbeat": HEARTBEAT_S})
