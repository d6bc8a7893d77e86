"""Participants with a past, written at once: nobody walks ten thousand interactions to be measured."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import insert, update

from tests.bench.installation import Installation
from understudy.store import dispatch
from understudy.store.engine import chunks, store_clock
from understudy.store.schema import Tables

_p = Tables.participant


def completed_journey(stage: Installation, length: int, source: UUID | None = None) -> UUID:
    """A participant that is completed after so many interactions of its own, with the state to go on from.

    With `source`, which is such a one, it goes on where that one ended.
    """
    start = 0
    if source is None:
        (id_,) = stage.participants(1, max_interactions=length)
    else:
        child = stage.store.write(
            lambda connection: dispatch.insert_branch(connection, stage.workspace_id, source, length, None)
        )
        assert child is not None
        id_, start = child.id, child.branched_at
    seen = {"url": "noop://page", "title": "A page", "status": None, "problem": ""}
    same = {
        "participant_id": id_,
        "epoch": 1,
        "observation": seen | {"headings": [], "text": "There is nothing to do here."},
        "thought": "On I go.",
        "action": {"kind": "follow", "element": 1, "target": "Next"},
        "sentiment": 0.5,
        "result": seen,
        "started_at": datetime.now(UTC),
        "duration_ms": 0,
    }
    for chunk in chunks(range(start, start + length), 1_000):
        stage.store.write(
            lambda connection, chunk=chunk: connection.execute(
                insert(Tables.interaction), [same | {"ordinal": ordinal} for ordinal in chunk]
            )
        )
    state = {"environment": {"page": 1}, "memory": {}}
    ended = {
        "status": "completed",
        "outcome": "cap_reached",
        "epoch": 1,
        "interaction_count": start + length,
        "started_at": store_clock(),
        "finished_at": store_clock(),
        "dispatched_at": store_clock(),
    }
    stage.store.write(
        lambda connection: (
            connection.execute(insert(Tables.checkpoint).values(participant_id=id_, state=state)),
            connection.execute(update(_p).where(_p.c.id == id_).values(ended)),
        )
    )
    return id_
