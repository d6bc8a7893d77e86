"""Celery's consumer, as it is used with RabbitMQ."""

from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

#: A RabbitMQ that says nothing for twice as long is away.
HEARTBEAT_S = 20
_DELAYED = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """With heartbeats, and without the 28 queues of Celery's delayed delivery, which we never use."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
        """The same steps, but for one."""

        default_steps = [step for step in CeleryConsumer.Blueprint.default_steps if step != _DELAYED]  # noqa: RUF012

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"amqheartbeat": HEARTBEAT_S})
