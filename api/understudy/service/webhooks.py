"""Creates, lists, deletes and replays webhooks. Source: contract section 6."""

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from understudy import faults
from understudy.domain.errors import Conflict, NotFound, ValidationError
from understudy.domain.ids import Kind
from understudy.domain.webhooks import MAX_WEBHOOKS, DeliveryStatus, EventType, check_url
from understudy.envelopes.base import Page
from understudy.envelopes.webhooks import Replayed, Webhook, WebhookCreated, WebhookDeleted, WebhookDelivery
from understudy.operations.webhook_requests import WebhookRequest, parse_time
from understudy.service.call import Call
from understudy.service.receivers import check_receiver
from understudy.service.starts import Start, meaning_of, start_once
from understudy.store import Connection, deliveries, webhooks
from understudy.store.aliases import find, not_found
from understudy.store.engine import AnyRow

_SECRET_BYTES = 32
_WEBHOOK_ID = "webhook_id"


def create(call: Call, request: WebhookRequest) -> WebhookCreated:
    """Creates a webhook; a call repeated with its key returns the one of the first call.

    Raises ValidationError, also for an address that is not allowed and for one webhook too many; Conflict.
    """
    check_receiver(check_url(request.url), call.service.settings.receiver_networks)
    events = [str(type_) for type_ in request.events or EventType]
    secret = _new_secret()

    def work(connection: Connection) -> Mapping[str, Any]:
        def insert() -> dict[str, Any]:
            id_ = webhooks.insert_webhook(connection, call.workspace_id, request.url, events, secret)
            if id_ is None:
                raise ValidationError(
                    f"The workspace already has the maximum of {MAX_WEBHOOKS} webhooks.",
                    suggestions=("Delete one that you no longer need.",),
                )
            return {_WEBHOOK_ID: str(id_), "secret_hash": _hash(secret)}

        start = Start("webhook_create", None, partial(meaning_of, request, events=sorted(events)))
        return start_once(connection, call, start, request, insert)

    with faults.fault_site("create.commit"):
        created = call.service.store.write(work)
    with call.service.store.read() as connection:
        row = webhooks.get_webhook(connection, call.workspace_id, UUID(created[_WEBHOOK_ID]))
        if row is None:
            raise Conflict("The webhook that this Idempotency-Key created was deleted. Use a new key.")
        webhook = _describe_all(connection, [row])[0]
    is_first = _hash(row.secret) == created["secret_hash"]
    return WebhookCreated(**dict(webhook), secret=row.secret if is_first else None)


def list_webhooks(call: Call, request: Any) -> Page[Webhook]:
    """Returns a page of the workspace's webhooks, in order of creation."""
    with call.service.store.read() as connection:
        rows, following = webhooks.page_of_webhooks(connection, call.workspace_id, request.cursor, request.limit)
        return Page(items=_describe_all(connection, rows), next_cursor=following)


def get_webhook(call: Call, request: Any) -> Webhook:
    """Returns one webhook. Raises NotFound."""
    with call.service.store.read() as connection:
        return _describe_all(connection, [_find(connection, call, request)])[0]


def delete_webhook(call: Call, request: Any) -> WebhookDeleted:
    """Deletes a webhook with its deliveries. Raises NotFound."""

    def work(connection: Connection) -> AnyRow:
        row = _find(connection, call, request)
        if not webhooks.delete_webhook(connection, call.workspace_id, row.id):
            raise not_found(Kind.WEBHOOK, request.webhook_id)
        return row

    row = call.service.store.write(work)
    return WebhookDeleted(id=row.id, alias=row.alias)


def rotate(call: Call, request: Any) -> WebhookCreated:
    """Replaces the secret of a webhook. Raises NotFound."""
    secret = _new_secret()

    def work(connection: Connection) -> Webhook:
        row = _find(connection, call, request)
        webhooks.rotate_secret(connection, row.id, secret)
        return _describe_all(connection, [row])[0]

    return WebhookCreated(**dict(call.service.store.write(work)), secret=secret)


def replay(call: Call, request: Any) -> Replayed:
    """Makes deliveries due again. Raises NotFound for an unknown webhook or delivery."""

    def work(connection: Connection) -> int:
        row = _find(connection, call, request)
        which = deliveries.ReplayFilter(
            row.id,
            None if request.delivery_id is None else _delivery_id(request.delivery_id),
            None if request.since is None else parse_time(request.since),
            None if request.status is None else DeliveryStatus(request.status),
        )
        count = deliveries.replay(connection, which)
        if request.delivery_id is not None and not count:
            raise NotFound(f"Webhook {row.alias} has no delivery {request.delivery_id}.")
        return count

    return Replayed(replayed_count=call.service.store.write(work))


def list_deliveries(call: Call, request: Any) -> Page[WebhookDelivery]:
    """Returns a page of a webhook's log. Raises NotFound."""
    status = None if request.status is None else DeliveryStatus(request.status)
    with call.service.store.read() as connection:
        webhook = _find(connection, call, request)
        rows, following = deliveries.page_of_deliveries(connection, webhook.id, status, request.cursor, request.limit)
    return Page(items=list(map(_delivery, rows)), next_cursor=following)


def _find(connection: Connection, call: Call, request: Any) -> AnyRow:
    return find(connection, call.workspace_id, Kind.WEBHOOK, request.webhook_id, _WEBHOOK_ID)


def _describe_all(connection: Connection, rows: list[AnyRow]) -> list[Webhook]:
    waiting = webhooks.count_deliveries(connection, [row.id for row in rows])
    return [
        Webhook.model_validate(
            {
                **row._mapping,
                "pending_count": waiting[row.id].pending_count if row.id in waiting else 0,
                "oldest_pending_at": waiting[row.id].oldest_pending_at if row.id in waiting else None,
            }
        )
        for row in rows
    ]


def _delivery(row: AnyRow) -> WebhookDelivery:
    of_dispatch = row.type == EventType.RUN_FINISHED
    derived = {
        "dispatch_id" if of_dispatch else "participant_id": row.source_id,
        "next_attempt_at": row.due_at if row.status == DeliveryStatus.PENDING else None,
    }
    return WebhookDelivery.model_validate({**row._mapping, **derived})


def _delivery_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValidationError("delivery_id must be the UUID of a delivery.") from None


def _new_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
