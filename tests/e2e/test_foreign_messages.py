"""Foreign messages in queues and broadcasts: workers drop each with one line, and go on."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.dedicated_brokers import depth
from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.domain.broker_address import parse_broker_url
from understudy.domain.queues import Queue
from understudy.queue.celery.app import create_celery
from understudy.queue.names import RUN_TASK
from understudy.queue.redis_clients import connect
from understudy.settings import Settings
from understudy.store.engine import Store

#: Body, content type, content encoding and headers of messages that kombu sends.
FOREIGN: list[tuple[Any, str | None, str | None, dict[str, Any]]] = [
    (b"\xff\xfe\x00", "application/data", "binary", {}),
    ("{not json", "application/json", "utf-8", {"task": RUN_TASK, "id": "a"}),
    (b"\x80\x04N.", "application/x-python-serialize", "binary", {"task": RUN_TASK, "id": "a"}),
    (b"text", "none/such", "rot13", {}),
    ("[]", "application/json", "utf-8", {}),
    (b"no zlib", "application/json", "utf-8", {"task": RUN_TASK, "id": "a", "compression": "application/x-gzip"}),
    (json.dumps([[str(uuid4())], {}, {}]), "application/json", "utf-8", {"task": "other", "id": "a"}),
    (json.dumps([["no uuid"], {}, {}]), "application/json", "utf-8", {"task": RUN_TASK, "id": "a"}),
    (json.dumps([[str(uuid4())], {}, {}]), "application/json", "utf-8", {"task": RUN_TASK}),
    (json.dumps([[1, 2], {}, {}]), "application/json", "utf-8", {"task": RUN_TASK, "id": "a", "timelimit": 5}),
    (json.dumps({"task": RUN_TASK, "args": 5, "kwargs": 5, "id": []}), "application/json", "utf-8", {}),
    ("[" * 100_000, "application/json", "utf-8", {"task": RUN_TASK, "id": "a"}),
    ("x" * 2_000_000, "application/json", "utf-8", {"task": RUN_TASK, "id": "a"}),
]
#: Items of a list of Redis that no kombu wrote.
NO_ENVELOPES = [b"\xff\x00garbage", b"hello", b"[" * 50_000, b"null", b"{}", b'{"body": "", "properties": {}}']
#: Bodies of broadcasts.
COMMANDS: list[Any] = [
    *(None, 5, "text", [], {}, {"method": []}, {"method": "none such"}),
    {"method": "ping", "pattern": "(", "matcher": "pcre"},
    {"method": "ping", "pattern": "a", "matcher": "none such"},
    {"method": "ping", "reply_to": "nobody"},
    {"method": "abort_participants", "arguments": {"participant_ids": ["no uuid"]}},
]


def send_foreign(settings: Settings, queue: Queue) -> int:
    """Sends them to a queue; returns how many there are."""
    with create_celery(settings.broker_url).connection_for_write() as connection:
        producer = connection.Producer(auto_declare=False)
        for body, content_type, encoding, headers in FOREIGN:
            fields = {"content_type": content_type, "content_encoding": encoding}
            producer.publish(body, routing_key=str(queue), headers=headers, **fields)
    if not parse_broker_url(settings.broker_url).is_redis:
        return len(FOREIGN)
    with connect(settings.broker_url) as client:
        client.lpush(str(queue), *NO_ENVELOPES)
    return len(FOREIGN) + len(NO_ENVELOPES)


def broadcast_foreign(settings: Settings) -> int:
    """Sends them to all workers; returns how many there are."""
    app = create_celery(settings.broker_url)
    with app.connection_for_write() as connection:
        producer = connection.Producer(exchange=app.control.mailbox.exchange)
        for body in COMMANDS:
            producer.publish(body, serializer="json", headers={"clock": 1})
        producer.publish("{not json", content_type="application/json", content_encoding="utf-8")
        producer.publish({"method": "ping"}, serializer="json", headers={"clock": "late"})
    if not parse_broker_url(settings.broker_url).is_redis:
        return len(COMMANDS) + 2
    with connect(settings.broker_url) as client:
        for data in NO_ENVELOPES:
            client.publish("/0.celery.pidbox", data)
    return len(COMMANDS) + 2 + len(NO_ENVELOPES)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_workers_drop_foreign_messages_and_run_the_next_participant(
    store: Store, settings: Settings, acme: ApiClient, fleet: Fleet
) -> None:
    workers = fleet.start("run-1", "control")
    run, control = workers
    count = broadcast_foreign(settings)
    expected = {run: count + send_foreign(settings, Queue.RUNS), control: count + send_foreign(settings, Queue.CONTROL)}

    def dropped(worker: Any) -> int:
        return sum("dropped a foreign message" in line for line in worker.log.read_text().splitlines())

    wait_until(lambda: [dropped(worker) for worker in workers] == list(expected.values()), 20)
    # They still receive messages and broadcasts.
    quick, _ = make_study(store, acme.workspace_id)
    dispatch_participants(acme, quick, 2)
    wait_until(lambda: all_terminal(store))
    slow, _ = make_study(store, acme.workspace_id, content={"delay_s": 600})
    dispatch_participants(acme, slow, 1)
    wait_until(lambda: counts(store).get("running") == 1)
    acme.post("/v1/simulations/cancel", {"study_id": str(slow)})
    wait_until(lambda: all(row.stopped_at for row in load_rows(store) if row.status == "cancelled"))
    assert counts(store) == {"completed": 2, "cancelled": 1}
    assert {(row.epoch, row.attempt) for row in load_rows(store)} == {(1, 0)}
    for worker in workers:
        text = worker.log.read_text()
        assert worker.popen.poll() is None
        assert "Traceback" not in text, text
        assert dropped(worker) == expected[worker]
    assert (depth(settings.broker_url, Queue.RUNS), depth(settings.broker_url, Queue.CONTROL)) == (0, 0)
