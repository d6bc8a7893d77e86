"""A store with many deliveries of webhooks, quickly: nearly all are delivered, as in one that has been at work."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, insert

from tests.plans.seed_data import SeedData
from understudy.store import deliveries
from understudy.store.engine import Store
from understudy.store.schema import Tables

WEBHOOKS = 20
#: Of a thousand deliveries so many wait.
PENDING = 2


class SeedDeliveries(NamedTuple):
    """What to ask for."""

    workspace_id: UUID
    #: The webhook with most of the deliveries.
    webhook_id: UUID
    pending: list[UUID]
    delivered: UUID
    #: Events that are no deliveries yet.
    batch: deliveries.Batch


def fill_deliveries(store: Store, it: SeedData, count: int) -> SeedDeliveries:
    """Inserts webhooks of the workspace with `count` deliveries of events that happened long ago."""
    now, webhooks = datetime.now(UTC), [uuid4() for _ in range(WEBHOOKS)]
    receivers = [
        {
            "id": id_,
            "workspace_id": it.workspace_id,
            "alias": f"wh-{number:03x}",
            "url": "http://receiver/",
            "events": ["participant.completed"],
            "secret": "whsec_x",
            "since_position": 0,
            "created_at": now,
        }
        for number, id_ in enumerate(webhooks)
    ]
    rows = []
    for number in range(count):
        at, is_pending = now - timedelta(seconds=count - number), number % 1000 < PENDING
        rows.append(
            {
                "id": uuid4(),
                "webhook_id": webhooks[0 if number % 10 else number // 10 % WEBHOOKS],
                "workspace_id": it.workspace_id,
                "type": "participant.completed",
                "source_id": uuid4(),
                "position": number,
                **dict.fromkeys(("occurred_at", "created_at", "retry_from", "due_at"), at),
                "status": "pending" if is_pending else "delivered",
                "attempts": 1,
                "claim_no": 0,
                "ended_at": None if is_pending else at,
            }
        )

    def write(connection: Connection) -> None:
        connection.execute(insert(Tables.webhook), receivers)
        for start in range(0, count, 10_000):
            connection.execute(insert(Tables.delivery), rows[start : start + 10_000])

    store.write(write)
    if store.engine.dialect.name == "postgresql":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
    with store.read() as connection:
        batch = deliveries.next_batch(connection, it.workspace_id)
    assert batch is not None
    mine = [row for row in rows if row["webhook_id"] == webhooks[0]]
    return SeedDeliveries(
        it.workspace_id,
        webhooks[0],
        [row["id"] for row in mine if row["status"] == "pending"],
        next(row["id"] for row in mine if row["status"] == "delivered"),
        batch,
    )
