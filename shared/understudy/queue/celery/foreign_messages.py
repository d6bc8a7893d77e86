"""Recognizes foreign messages: those that no version of Understudy sends. A worker drops them.

The checks accept exactly what `Publisher` and Celery's remote control write, so that neither Celery nor kombu meets
anything else: both end the worker or requeue for ever on some of it.
"""

import base64
import json
import logging
import reprlib
from collections.abc import Collection, Mapping
from typing import Any, Literal
from uuid import UUID

from understudy.domain.queues import is_run_message_of, stop_task_id
from understudy.queue.names import RUN_TASK, STOP_TASK
from understudy.telemetry import metrics

log = logging.getLogger(__name__)

#: Maximum size of a message; the largest of ours, an abort of 1,000 participants, has 52 KB.
MAX_MESSAGE_BYTES = 1024 * 1024
#: Number of arguments of each task; the first is the participant's id.
_TASK_ARGUMENTS = {RUN_TASK: 1, STOP_TASK: 2}
#: Headers of Celery that would change how it runs a task; ours leave them empty.
_EMPTY_HEADERS = ("eta", "expires", "compression", "shadow", "group", "stamped_headers", "stamps")
_MAX_CLOCK = 2**53


class ForeignMessage(Exception):
    """The message is foreign; the text says why."""


def drop_message(source: Literal["queue", "broadcast"], name: str, reason: object) -> None:
    """Logs and counts a dropped message of the queue or command `name`."""
    metrics.foreign_messages.labels(source).inc()
    log.warning("dropped a foreign message of %s %s: %s", source, name, reason)


def read_envelope(data: bytes | str) -> dict[str, Any]:
    """Returns the envelope that kombu stores in Redis. Raises ForeignMessage."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise ForeignMessage(f"it has more than {MAX_MESSAGE_BYTES} bytes")
    try:
        # Kombu's decoder would call a hook for each object; an envelope has none of the types that it looks for.
        envelope: dict[str, Any] = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ForeignMessage("it is not JSON") from error
    properties = envelope.get("properties") if isinstance(envelope, dict) else None
    if not (isinstance(properties, dict) and _are_texts(envelope, "body") and _are_texts(properties, "delivery_tag")):
        raise ForeignMessage(f"it has no envelope: {reprlib.repr(envelope)}")
    if not _is_address(properties.get("delivery_info")):
        raise ForeignMessage(f"unknown address: {reprlib.repr(properties)}")
    _check_body(envelope["body"], properties)
    headers = envelope.get("headers") or {}
    if not isinstance(headers, dict) or headers.get("compression"):
        raise ForeignMessage(f"unknown headers: {reprlib.repr(headers)}")
    return envelope


def _are_texts(fields: Mapping[Any, Any], *names: str) -> bool:
    return all(isinstance(fields.get(name), str) for name in names)


def _is_address(value: object) -> bool:
    return isinstance(value, dict) and _are_texts(value, "exchange", "routing_key")


def _check_body(body: str, properties: Mapping[Any, Any]) -> None:
    if properties.get("priority", 0) not in (0, None) or properties.get("body_encoding") != "base64":
        raise ForeignMessage(f"unknown properties: {reprlib.repr(properties)}")
    try:
        base64.b64decode(body)
    except ValueError as error:
        raise ForeignMessage("its body is not base64") from error


def check_task(message: Any, tasks: Collection[str]) -> None:
    """Raises ForeignMessage unless `message` is a run message or a stop task, whichever `tasks` contains."""
    headers, body = message.headers, message.body
    if not isinstance(headers, dict):
        raise ForeignMessage("its headers are no object")
    name, id_ = headers.get("task"), headers.get("id")
    if not isinstance(name, str) or name not in _TASK_ARGUMENTS or name not in tasks:
        raise ForeignMessage(f"unknown task {reprlib.repr(name)}")
    if not isinstance(id_, str) or any(map(headers.get, _EMPTY_HEADERS)):
        raise ForeignMessage(f"unknown headers: {reprlib.repr(headers)}")
    if headers.get("timelimit") not in (None, [None, None]):
        raise ForeignMessage("it has a time limit")
    if (message.content_type, message.content_encoding) != ("application/json", "utf-8"):
        raise ForeignMessage(f"unknown content type {reprlib.repr(message.content_type)}")
    if not isinstance(body, str | bytes) or len(body) > MAX_MESSAGE_BYTES:
        raise ForeignMessage(f"its body is no text of at most {MAX_MESSAGE_BYTES} bytes")
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ForeignMessage("its body is not JSON") from error
    _check_arguments(payload, _TASK_ARGUMENTS[name])
    _check_id(id_, *payload[0])
    # Celery asks for it too: kombu would decode it again, more slowly.
    message._decoded_cache = payload


def _check_arguments(payload: object, count: int) -> None:
    arguments, options, callbacks = payload if isinstance(payload, list) and len(payload) == 3 else (None,) * 3
    if (
        not isinstance(arguments, list)
        or len(arguments) != count
        or not all(isinstance(argument, str) for argument in arguments)
        or options != {}
        or not isinstance(callbacks, dict)
        or any(callbacks.values())
    ):
        raise ForeignMessage(f"unknown arguments: {reprlib.repr(payload)}")


def _check_id(id_: str, participant_id: str, run_task_id: str | None = None) -> None:
    """Raises ForeignMessage unless the id of a message is the one that `Publisher` gives it."""
    run_id, expected = (id_, id_) if run_task_id is None else (run_task_id, stop_task_id(run_task_id))
    if not is_run_message_of(run_id, participant_id) or id_ != expected:
        raise ForeignMessage(f"its id {reprlib.repr(id_)} is not the one of its participant")


def parse_participant_ids(ids: object) -> list[UUID]:
    """Returns the ids of a message. Raises ForeignMessage."""
    if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
        raise ForeignMessage("its participant ids are no list of strings")
    try:
        return [UUID(id_) for id_ in ids]
    except ValueError as error:
        raise ForeignMessage("a participant id is no UUID") from error


def check_command(body: object, headers: object, commands: Collection[str]) -> None:
    """Raises ForeignMessage unless a broadcast names one of `commands` in the form of Celery's remote control."""
    if not isinstance(body, dict) or not isinstance(headers, dict):
        raise ForeignMessage("it is no command")
    method = body.get("method")
    if not isinstance(method, str) or method not in commands:
        raise ForeignMessage(f"unknown command {reprlib.repr(method)}")
    clock = headers.get("clock") or 0
    names = body.get("destination") or []
    addressed = (body.get("pattern"), body.get("matcher"))
    if (
        not isinstance(clock, int)
        or not 0 <= clock < _MAX_CLOCK
        or not isinstance(body.get("arguments") or {}, dict)
        or not isinstance(names, list)
        or not all(part is None or isinstance(part, str) for part in (*names, *addressed))
    ):
        raise ForeignMessage(f"unknown fields: {reprlib.repr(body)}")
    reply_to = body.get("reply_to")
    if reply_to is not None and not _is_address(reply_to):
        raise ForeignMessage(f"unknown address of its reply: {reprlib.repr(reply_to)}")
