"""Builds the Celery app: one configuration for all publishers and consumers."""

from typing import Any

from celery import Celery
from kombu import Queue as BrokerQueue
from kombu.transport import TRANSPORT_ALIASES

from understudy.domain.broker_address import BrokerAddress, parse_broker_url
from understudy.domain.queues import Queue

#: Seconds until a connection attempt fails. Short, because the sweeper publishes what could not be published.
BROKER_CONNECT_TIMEOUT_S = 2
#: Seconds until a publisher stops waiting for an answer on an open connection.
BROKER_READ_TIMEOUT_S = 5
#: The same for consumers of RabbitMQ: a restarting RabbitMQ declares queues slowly.
CONSUMER_READ_TIMEOUT_S = 20
#: RabbitMQ keeps the queues on disk, on a majority of its nodes. A worker holds a message during its run;
#: by default RabbitMQ redelivers it after 30 minutes. Before 3.12, only its configuration can change that.
QUORUM_QUEUE_ARGUMENTS = {"x-queue-type": "quorum", "x-consumer-timeout": 7 * 24 * 3600 * 1000}


def create_celery(broker_url: str, *, read_timeout_s: float | None = None, app_type: type[Celery] = Celery) -> Celery:
    """Returns a Celery app without tasks; a worker registers its own.

    `read_timeout_s` limits each answer of the broker. A publisher sets it: a broker that accepts connections
    and never answers then counts as unavailable. A consumer waits for messages and passes None.
    """
    address = parse_broker_url(broker_url)
    app = app_type("understudy", broker=address.celery_url, set_as_current=False)
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
        # A duplicate message claims nothing; the sweeper republishes a lost one.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=True,
        worker_consumer="understudy.queue.celery.consumer:Consumer",
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
            # Queues are listed by rank: recovered runs come before new ones.
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
    # It replaces kombu's transport under kombu's name, which Celery and Flower show.
    TRANSPORT_ALIASES["amqp"] = TRANSPORT_ALIASES["amqps"] = "understudy.queue.celery.amqp:Transport"
    return {
        "broker_transport_options": {
            "answer_timeout_s": read_timeout_s or CONSUMER_READ_TIMEOUT_S,
            "publish_only": read_timeout_s is not None,
        },
        # No thread serves the heartbeats of idle publishing connections. Consuming connections have
        # heartbeats: see shared/understudy/queue/celery/consumer.py.
        "broker_heartbeat": 0,
        # A new channel replaces one that failed.
        "broker_channel_error_retry": True,
    }
