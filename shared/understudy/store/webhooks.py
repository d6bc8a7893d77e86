"""Webhooks of a workspace: the receivers of its events, with their secrets."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, func, insert, null, select, update

from understudy.domain.ids import Kind
from understudy.domain.webhooks import MAX_WEBHOOKS, ROTATION_HOURS, DeliveryStatus
from understudy.store.aliases import assign_aliases
from understudy.store.engine import AnyRow, store_clock
from understudy.store.events import last_position
from understudy.store.paging import page
from understudy.store.schema import Tables

_webhook = Tables.webhook
_delivery = Tables.delivery


def insert_webhook(
    connection: Connection, workspace_id: UUID, url: str, events: Sequence[str], secret: str
) -> UUID | None:
    """Inserts a webhook for the events after this moment; returns its id.

    Returns None, and inserts nothing, if the workspace has MAX_WEBHOOKS. Concurrent calls of one workspace wait.
    """
    id_ = uuid4()
    # It also locks the workspace: the count below stays true until the commit.
    alias = assign_aliases(connection, workspace_id, Kind.WEBHOOK, [id_])[id_]
    count = select(func.count()).select_from(_webhook).where(_webhook.c.workspace_id == workspace_id)
    if (connection.scalar(count) or 0) >= MAX_WEBHOOKS:
        return None
    connection.execute(
        insert(_webhook).values(
            id=id_,
            workspace_id=workspace_id,
            alias=alias,
            url=url,
            events=list(events),
            secret=secret,
            since_position=last_position(connection, workspace_id),
            created_at=store_clock(),
        )
    )
    return id_


def page_of_webhooks(
    connection: Connection, workspace_id: UUID, cursor: str | None, limit: int
) -> tuple[list[AnyRow], str | None]:
    """Returns a page of the workspace's webhooks, in order of creation."""
    return page(connection, select(_webhook).where(_webhook.c.workspace_id == workspace_id), _webhook, cursor, limit)


def get_webhook(connection: Connection, workspace_id: UUID, id_: UUID) -> AnyRow | None:
    """Returns the webhook, or None if it was deleted."""
    owned = (_webhook.c.workspace_id == workspace_id) & (_webhook.c.id == id_)
    return connection.execute(select(_webhook).where(owned)).one_or_none()


def count_deliveries(connection: Connection, ids: Sequence[UUID]) -> Mapping[UUID, AnyRow]:
    """Returns `(webhook_id, pending_count, oldest_pending_at)` of those that have pending deliveries."""
    pending = (_delivery.c.status == str(DeliveryStatus.PENDING)) & _delivery.c.webhook_id.in_(ids)
    columns = (
        _delivery.c.webhook_id,
        func.count().label("pending_count"),
        func.min(_delivery.c.occurred_at).label("oldest_pending_at"),
    )
    rows = connection.execute(select(*columns).where(pending).group_by(_delivery.c.webhook_id))
    return {row.webhook_id: row for row in rows}


def rotate_secret(connection: Connection, id_: UUID, secret: str) -> None:
    """Replaces the secret; for ROTATION_HOURS, deliveries carry the signature of the replaced one too."""
    statement = update(_webhook).where(_webhook.c.id == id_)
    connection.execute(
        statement.values(
            secret=secret, previous_secret=_webhook.c.secret, previous_until=store_clock(ROTATION_HOURS * 3600)
        )
    )


def forget_previous_secrets(connection: Connection) -> int:
    """Deletes the previous secrets whose time is over; returns how many. Repeatable."""
    is_over = _webhook.c.previous_until <= store_clock()
    return connection.execute(
        update(_webhook).where(is_over).values(previous_secret=null(), previous_until=null())
    ).rowcount


def delete_webhook(connection: Connection, workspace_id: UUID, id_: UUID) -> bool:
    """Deletes a webhook with its deliveries; returns False if it does not exist. A delivery in flight may arrive."""
    owned = (_webhook.c.workspace_id == workspace_id) & (_webhook.c.id == id_)
    # Locked first: whatever adds deliveries locks it too.
    if connection.scalar(select(_webhook.c.id).where(owned).with_for_update()) is None:
        return False
    connection.execute(delete(_delivery).where(_delivery.c.webhook_id == id_))
    connection.execute(delete(_webhook).where(owned))
    return True


def secrets_of(row: Any) -> list[str]:
    """Returns the secrets whose signatures a delivery carries now, from a row of `deliveries.claim`."""
    return [secret for secret in (row.secret, row.previous_secret) if secret is not None]
