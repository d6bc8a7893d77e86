"""The Celery app: one configuration for everything that publishes or consumes."""

from celery import Celery
from kombu import Queue as BrokerQueue

from shared.queue.names import Queue

#: Seconds until a connection attempt to a broker that does not answer is given up. What cannot be published
#: is published later by the sweeper, so nobody should wait long.
BROKER_CONNECT_TIMEOUT_S = 2
#: And until an answer of one that takes connections and then says nothing is.
BROKER_READ_TIMEOUT_S = 5


def create_celery(broker_url: str, *, read_timeout_s: float | None = None) -> Celery:
    """A Celery app without tasks; a worker registers its own.

    `read_timeout_s`: how long one answer of the broker may take. Who only publishes sets it, so that a broker
    that takes connections and says nothing is away for it too; who consumes waits for messages, and does not.
    """
    app = Celery("understudy", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_queues=[BrokerQueue(str(queue), routing_key=str(queue)) for queue in Queue],
        task_default_queue=str(Queue.RUNS),
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        # The participant's row is the result.
        task_ignore_result=True,
        # A message is only a doorbell: a duplicate finds nothing to claim, a lost one is sent again.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=True,
        broker_connection_timeout=BROKER_CONNECT_TIMEOUT_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            # Queues are listed by rank: runs taken up again come before new ones.
            "queue_order_strategy": "priority",
            "socket_connect_timeout": BROKER_CONNECT_TIMEOUT_S,
            "socket_timeout": read_timeout_s,
            "socket_keepalive": True,
        },
    )
    return app
