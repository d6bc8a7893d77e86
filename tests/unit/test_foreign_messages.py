"""Foreign messages: what a worker accepts and what it drops, at each level of a message."""

import base64
import json
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from kombu.message import Message

from understudy.queue.celery.app import create_celery
from understudy.queue.celery.foreign_messages import (
    MAX_MESSAGE_BYTES,
    ForeignMessage,
    check_command,
    check_task,
    parse_participant_ids,
    read_envelope,
)
from understudy.queue.names import ABORT_COMMAND, RUN_TASK, STOP_TASK

ID = str(uuid4())
RUN_ID = f"{ID}.1"
STOP_ID = f"{ID}.1.stop"
ENVELOPE: dict[str, Any] = {
    "body": base64.b64encode(b"[]").decode(),
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {"task": RUN_TASK},
    "properties": {
        "delivery_tag": "a tag",
        "delivery_info": {"exchange": "", "routing_key": "simulations"},
        "body_encoding": "base64",
        "priority": 0,
    },
}


def changed(path: str, value: object) -> dict[str, Any]:
    """The envelope with another value at `path`, or without it if the value is `...`."""
    copy: dict[str, Any] = json.loads(json.dumps(ENVELOPE))
    *parents, name = path.split("/")
    at = copy
    for parent in parents:
        at = at[parent]
    at.pop(name)
    return copy if value is ... else (at.update({name: value}) or copy)


def test_envelope_of_kombu_is_read() -> None:
    assert read_envelope(json.dumps(ENVELOPE).encode()) == ENVELOPE
    assert read_envelope(json.dumps(changed("headers", None)))["headers"] is None


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\xff\xfe\x00garbage", b"{not json", b"[" * 100_000, b'{"__type__": "uuid", "__value__": 5}'),
        *(b"null", b"7", b'"text"', b"[]", b"{}", b" " * (MAX_MESSAGE_BYTES + 1)),
        *(
            json.dumps(changed(path, value)).encode()
            for path, value in (
                *(("body", value) for value in (..., None, 5, {}, "a")),
                *(("headers", value) for value in ("text", [1], 5, {"compression": "zlib"})),
                *(("properties", value) for value in (..., None, [], "text", {})),
                *(("properties/delivery_tag", value) for value in (..., None, 5, [])),
                *(("properties/delivery_info", value) for value in (..., None, "text", {}, {"exchange": ""})),
                *(("properties/delivery_info/exchange", value) for value in (None, [], {})),
                *(("properties/body_encoding", value) for value in (..., None, "rot13", [], {})),
                *(("properties/priority", value) for value in (9, "high", [], float("inf"))),
            )
        ),
    ],
    ids=lambda data: str(data[:60]),
)
def test_anything_but_an_envelope_is_foreign(data: bytes) -> None:
    with pytest.raises(ForeignMessage):
        read_envelope(data)


def task(name: str = RUN_TASK, args: object = (ID,), body: Any = ..., **changes: Any) -> Any:
    """A message as `Publisher` sends it, with changed headers or body."""
    id_ = RUN_ID if name == RUN_TASK else STOP_ID
    sent = create_celery("redis://127.0.0.1:1/0").amqp.as_task_v2(id_, name, args=args, ignore_result=True)
    payload = list(sent.body) if body is ... else body
    fields = {"content_type": "application/json", "content_encoding": "utf-8", "headers": sent.headers}
    for key in set(changes) - set(fields):
        fields["headers"][key] = changes.pop(key)
    return SimpleNamespace(**{"body": json.dumps(payload), **fields, **changes})


@pytest.mark.parametrize(
    "message", [task(), task(STOP_TASK, (ID, f"{ID}.1")), task(traceparent="00-ab", request_id="r")]
)
def test_messages_of_the_publisher_are_accepted(message: Any) -> None:
    check_task(message, {RUN_TASK, STOP_TASK})


@pytest.mark.parametrize(
    "message",
    [
        *(task(headers=headers) for headers in (None, [], "text", {}, {"task": RUN_TASK})),
        *(task(task=name) for name in ("celery.backend_cleanup", "other", None, 5, [], {})),
        task(STOP_TASK, (ID, f"{ID}.1")),
        *(task(id=value) for value in (None, 5, [])),
        # Written by hand: by Celery, for another participant, or for the other task.
        *(task(id=value) for value in (str(uuid4()), f"{uuid4()}.1", ID, STOP_ID, f"{RUN_ID}\n")),
        *(task(STOP_TASK, (ID, value)) for value in (f"{uuid4()}.1", STOP_ID, "")),
        *(task(STOP_TASK, (ID, f"{ID}.1"), id=value) for value in (RUN_ID, f"{ID}.2.stop", str(uuid4()))),
        *(task(**{name: "x"}) for name in ("eta", "expires", "compression", "stamped_headers", "stamps", "shadow")),
        *(task(timelimit=value) for value in (5, [1], [1, 2], "text")),
        *(task(content_type=value) for value in (None, "application/x-python-serialize", "text/plain", "none/such")),
        task(content_encoding="rot13"),
        *(task(args=args) for args in ((), (ID, ID), ("no uuid",), (5,), ([ID],), ({},))),
        *(task(body=body) for body in (None, 5, "text", [], {}, [[ID]], [[ID], {}], [[ID], [], {}], [ID, {}, {}])),
        task(body=[[ID], {"more": 1}, {}]),
        task(body=[[ID], {}, {"callbacks": [{"task": "other"}]}]),
        task(body=[[ID], {}, None]),
        task(body="x" * MAX_MESSAGE_BYTES),
    ],
)
def test_any_other_message_in_a_queue_is_foreign(message: Any) -> None:
    with pytest.raises(ForeignMessage):
        check_task(message, {RUN_TASK, "celery.backend_cleanup"})


def test_message_is_decoded_once() -> None:
    sent = task()
    received = Message(**vars(sent), accept=["json"])
    check_task(received, {RUN_TASK})
    received.body = "no longer needed"
    assert received.payload == json.loads(sent.body)


@pytest.mark.parametrize("body", [b"{not json", b"\xff\xfe\x00", "", None, 5, "[" * 100_000])
def test_body_that_is_not_json_is_foreign(body: object) -> None:
    message = task()
    message.body = body
    with pytest.raises(ForeignMessage):
        check_task(message, {RUN_TASK})


COMMANDS = {ABORT_COMMAND, "ping"}


@pytest.mark.parametrize(
    "body",
    [
        {"method": "ping"},
        {"method": "ping", "arguments": None, "destination": ["run-1@host"], "pattern": None, "matcher": None},
        {"method": "ping", "pattern": "run-*", "matcher": "glob", "ticket": "t"},
        {"method": "ping", "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "oid"}},
    ],
)
def test_commands_of_celery_are_accepted(body: object) -> None:
    check_command(body, {"clock": 7, "expires": 0}, COMMANDS)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        *((body, {}) for body in (None, 5, "text", [], {}, {"method": None}, {"method": []}, {"method": "other"})),
        *(({"method": "ping", "arguments": value}, {}) for value in (5, [1], "text")),
        *(({"method": "ping", "destination": value}, {}) for value in (5, "run-1", {"a": 1}, [5])),
        *(({"method": "ping", key: 5}, {}) for key in ("pattern", "matcher")),
        *(({"method": "ping", "reply_to": value}, {}) for value in (5, "text", {}, {"exchange": 5})),
        *(({"method": "ping"}, {"clock": value}) for value in ("text", [1], -1, 1.5, 2**60)),
        *(({"method": "ping"}, headers) for headers in (None, [], "text")),
    ],
)
def test_any_other_broadcast_is_foreign(body: object, headers: object) -> None:
    with pytest.raises(ForeignMessage):
        check_command(body, headers, COMMANDS)


@pytest.mark.parametrize("ids", [None, 5, "text", {}, [5], [None], ["no uuid"], [ID, []]])
def test_ids_that_are_no_uuids_are_foreign(ids: object) -> None:
    with pytest.raises(ForeignMessage):
        parse_participant_ids(ids)
