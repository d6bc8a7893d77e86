"""The Celery app: one configuration for everything that publishes or consumes."""

from typing import Any

from celery import Celery
from kombu import Queue as BrokerQueue
from kombu.transport import TRANSPORT_ALIASES

from understudy.domain.broker_address import BrokerAddress, parse_broker_url
from understudy.domain.queues import Queue

#: Seconds until a connection attempt to a broker that does not answer is given up. What cannot be published
#: is published later by the sweeper, so nobody should wait long.
BROKER_CONNECT_TIMEOUT_S = 2
#: And until an answer of one that takes connections and then says nothing is.
BROKER_READ_TIMEOUT_S = 5
#: The same for who consumes, from RabbitMQ: while it comes back, making queues takes it a while.
CONSUMER_READ_TIMEOUT_S = 20
#: How RabbitMQ keeps queues: on most of its nodes, on disk. A worker has a message for as long as its run
#: takes, but RabbitMQ takes it back after half an hour, unless told so (before 3.12: in its configuration).
QUORUM_QUEUE_ARGUMENTS = {"x-queue-type": "quorum", "x-consumer-timeout": 7 * 24 * 3600 * 1000}


def create_celery(broker_url: str, *, read_timeout_s: float | None = None) -> Celery:
    """A Celery app without tasks; a worker registers its own.

    `read_timeout_s`: how long one answer of the broker may take. Who only publishes sets it, so that a broker
    that takes connections and says nothing is away for it too; who consumes waits for messages, and does not.
    """
    address = parse_broker_url(broker_url)
    app = Celery("understudy", broker=address.celery_url, set_as_current=False)
    app.conf.update(
        task_queues=[
            BrokerQueue(
                str(queue),
                routing_key=str(queue),
                queue_arguments=None if address.is_redis else QUORUM_QUEUE_ARGUMENTS,
            )
            for queue in Queue
        ],
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
        broker_use_ssl=address.celery_ssl or False,
        **(_for_redis(address, read_timeout_s) if address.is_redis else _for_amqp(read_timeout_s)),
    )
    return app


def _for_redis(address: BrokerAddress, read_timeout_s: float | None) -> dict[str, Any]:
    return {
        "broker_transport_options": {
            # Queues are listed by rank: runs taken up again come before new ones.
            "queue_order_strategy": "priority",
            "socket_connect_timeout": BROKER_CONNECT_TIMEOUT_S,
            "socket_timeout": read_timeout_s,
            "socket_keepalive": True,
        }
        | address.celery_sentinel(
            socket_connect_timeout=BROKER_CONNECT_TIMEOUT_S, socket_timeout=BROKER_READ_TIMEOUT_S
        ),
    }


def _for_amqp(read_timeout_s: float | None) -> dict[str, Any]:
    # Named like the one of kombu that it is instead of: Celery and Flower show it.
    TRANSPORT_ALIASES["amqp"] = TRANSPORT_ALIASES["amqps"] = "understudy.queue.celery.amqp:Transport"
    return {
        "broker_transport_options": {
            "answer_timeout_s": read_timeout_s or CONSUMER_READ_TIMEOUT_S,
            "only_publishes": read_timeout_s is not None,
        },
        # Connections that only publish are kept for long without anybody who would see to their heartbeats;
        # those that consume have some: see shared/understudy/queue/celery/consumer.py.
        "broker_heartbeat": 0,
        "worker_consumer": "understudy.queue.celery.consumer:Consumer",
        # What is wrong with a channel is mended by another one.
        "broker_channel_error_retry": True,
    }
