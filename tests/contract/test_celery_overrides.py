"""The names that our overrides of Celery and kombu rely on: a release that renames one fails here.

Other tests check how the overrides behave. These names are no public API of Celery and kombu.
"""

import importlib
import inspect
import pkgutil
from typing import Any

import amqp
import pytest
from celery import Celery
from celery.apps.worker import Worker
from celery.backends.base import BaseBackend
from celery.concurrency.base import BasePool
from celery.concurrency.thread import TaskPool
from celery.contrib import abortable
from celery.contrib.testing.mocks import TaskMessage
from celery.events import event
from celery.events.dispatcher import EventDispatcher
from celery.worker import consumer as consumers
from celery.worker import control, state
from celery.worker.consumer.events import Events
from celery.worker.control import Panel
from celery.worker.request import Request
from kombu import Consumer, Message, Producer
from kombu import transport as transports
from kombu.matcher import MatcherRegistry
from kombu.pidbox import Mailbox, Node
from kombu.transport import pyamqp, redis, virtual
from kombu.utils import json
from redis import Redis

from understudy.queue import celery as overrides

#: Module of ours -> what it relies on: the owner, and names that it must have.
RELIES_ON: dict[str, list[tuple[Any, tuple[str, ...]]]] = {
    "amqp": [
        (pyamqp.Channel, ("_basic_publish", "basic_publish", "confirm_select", "basic_ack", "basic_reject")),
        (pyamqp.Channel, ("message_to_python",)),
        (pyamqp.Connection, ("Channel", "blocking_read", "collect", "drain_events")),
        (pyamqp.Transport, ("Connection", "establish_connection", "verify_connection")),
        (Producer, ("batch",)),
        (amqp.Connection, ("channel",)),
    ],
    "app": [(transports, ("TRANSPORT_ALIASES",))],
    "broadcasts": [
        (Celery("understudy", set_as_current=False).control, ("mailbox",)),
        (Mailbox, ("_publish", "get_queue", "multi_call")),
        (Mailbox("understudy"), ("exchange", "clock", "serializer")),
    ],
    "channel": [
        (virtual.QoS, ("can_consume", "can_consume_max_estimate")),
        (redis.Channel, ("_brpop_read", "_handle_message", "_q_for_pri", "_in_poll", "active_queues")),
        (redis.Channel, ("_flush_brpop_reauth", "sep")),
        (virtual.Channel, ("do_restore", "basic_reject", "QoS")),
        (redis.Channel, ("ack_emulation",)),
        (redis.SentinelChannel, ("_brpop_read",)),
        (redis.Transport, ("Channel", "_deliver")),
        (redis.SentinelTransport, ("Channel",)),
        (Redis, ("rpop",)),
    ],
    "consumer": [
        (consumers.Consumer, ("Blueprint", "create_task_handler", "on_decode_error", "register_with_event_loop")),
        (consumers.Consumer.Blueprint, ("default_steps",)),
        (Message, ("ack_log_error", "reject_log_error")),
        (Mailbox, ("node_cls",)),
    ],
    "control_commands": [
        (control, ("revoke", "nok", "control_command")),
        (Panel, ("data", "meta")),
        (Panel.data, ("__getitem__",)),
    ],
    "flower_events": [
        (Events, ("requires",)),
        (EventDispatcher(enabled=False), ("flush", "on_send_buffered", "buffer_limit")),
        (Request, ("revoked", "send_event", "on_accepted", "_eventer", "_already_revoked", "argsrepr", "kwargsrepr")),
    ],
    "foreign_messages": [(json, ("loads",)), (Message, ("payload",))],
    "mailbox": [(Node, ("handle_message",)), (MatcherRegistry, ("MatcherNotInstalled",))],
    "pool": [(BasePool, ("on_apply", "on_stop", "signal_safe", "body_can_be_buffer", "apply_async"))],
    "polling": [
        (Consumer, ("consume", "cancel", "close", "consuming_from", "_receive_callback", "queues")),
        (amqp.Channel, ("basic_get", "queue_declare")),
        (Celery("understudy", set_as_current=False).amqp, ("Consumer", "TaskConsumer")),
        (state, ("should_stop",)),
    ],
    "result_backend": [
        (BaseBackend, ("store_result", "get_task_meta", "wait_for", "remove_pending_result")),
        (abortable, ("ABORTED",)),
        (control, ("inspect_command",)),
    ],
    "sent_events": [(event, ("Event", "get_exchange"))],
    "thread_pool": [(TaskPool, ("_get_info",))],
    "tool_app": [(Celery, ("send_task", "finalize", "tasks"))],
    "worker": [
        (Celery, ("Worker", "WorkController")),
        (Worker, ("install_platform_tweaks",)),
        (state, ("should_stop",)),
    ],
}


def test_every_override_lists_what_it_relies_on() -> None:
    assert {module.name for module in pkgutil.iter_modules(overrides.__path__)} == set(RELIES_ON)


@pytest.mark.parametrize("module", RELIES_ON)
def test_what_an_override_relies_on_exists(module: str) -> None:
    importlib.import_module(f"understudy.queue.celery.{module}")
    missing = [
        f"{getattr(owner, '__name__', owner)}.{name}"
        for owner, names in RELIES_ON[module]
        for name in names
        if not hasattr(owner, name)
    ]
    assert not missing


def test_the_pool_receives_the_arguments_that_it_unpacks() -> None:
    """Celery passes a job as type, id, headers, body, content type and encoding, with two callbacks."""
    passed: dict[str, Any] = {}

    class Pool:
        def apply_async(self, _: Any, **options: Any) -> None:
            passed.update(options)

    app = Celery("understudy", broker="memory://", set_as_current=False)

    @app.task(name="t")
    def task() -> None:
        """Never called."""

    message = TaskMessage("t", id="an-id", root_id=None, parent_id=None)
    message.delivery_info = {"routing_key": "simulations"}
    Request(message, app=app, task=task).execute_using_pool(Pool())
    kind, id_, headers, *rest = passed["args"]
    assert (kind, id_, rest) == ("t", "an-id", [message.body, "application/json", "utf-8"])
    assert headers["delivery_info"]["routing_key"] == "simulations"
    assert {"callback", "accept_callback"} <= set(passed)


@pytest.mark.parametrize("name", ["_queue_cycle", "parse_response", "_in_poll", "_flush_brpop_reauth", "disconnect"])
def test_kombu_reads_an_answer_of_brpop_with_the_calls_that_we_make(name: str) -> None:
    """Ours replaces its method, so that it can check the message in between."""
    assert name in inspect.getsource(redis.Channel._brpop_read)


def test_kombu_delivers_no_broadcast_without_data() -> None:
    assert "if payload['data']:" in inspect.getsource(redis.Channel._receive_one)


def test_a_consumer_takes_the_heartbeat_and_has_the_step_that_we_leave_out() -> None:
    from understudy.queue.celery.consumer import _DELAYED

    assert "amqheartbeat" in inspect.signature(consumers.Consumer.__init__).parameters
    assert _DELAYED in consumers.Consumer.Blueprint.default_steps


@pytest.mark.parametrize("confirm", ["basic_ack", "basic_nack"])
def test_a_confirm_of_a_channel_calls_the_event_that_we_listen_to(confirm: str) -> None:
    assert f"self.events['{confirm}']" in inspect.getsource(getattr(amqp.Channel, f"_on_{confirm}"))


@pytest.mark.parametrize("name", ["method", "arguments", "destination", "pattern", "matcher", "clock", "expires"])
def test_celery_writes_broadcasts_with_the_fields_and_headers_that_we_write(name: str) -> None:
    assert f"'{name}'" in inspect.getsource(Mailbox._publish)


def test_the_commands_that_we_replace_are_celerys_own() -> None:
    Celery("understudy", set_as_current=False)
    assert {"revoke", "terminate", "shutdown", "pool_grow", "pool_shrink", "autoscale"} <= set(Panel.data)
