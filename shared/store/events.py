"""Events: what happened to a participant, in order of `seq`, written by the transaction that did it."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, insert

from shared.store.engine import store_clock
from shared.store.schema import Tables


class NewEvent(NamedTuple):
    participant_id: UUID
    seq: int
    #: status, interaction or stopped
    kind: str
    data: dict[str, Any]


def record(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Write `events`; each `seq` was taken by the guarded update it belongs to."""
    if not events:
        return
    statement = insert(Tables.event).values(at=store_clock())
    connection.execute(statement, [event._asdict() for event in events])
