"""The least that can be done: SQLAlchemy core, one writer, one commit for each interaction's row."""

import time
from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy
from sqlalchemy import insert

from tests.bench.installation import Bench
from understudy.store.engine import Store
from understudy.store.schema import Tables


def commits_per_s(bench: Bench, count: int) -> float:
    """Transactions per second that insert one row each, like an interaction's, into a table without keys.

    The connection is set up as ours is (`shared/understudy/store/engine.py`): the same durability.
    """
    url = bench.store_url()
    store = Store(url)
    metadata = sqlalchemy.MetaData()
    table = sqlalchemy.Table(
        "interaction",
        metadata,
        *(sqlalchemy.Column(column.name, column.type) for column in Tables.interaction.columns),
    )
    metadata.create_all(store.engine)
    seen = {"url": "noop://page", "title": "A page", "status": None, "problem": ""}
    row = {
        "participant_id": uuid4(),
        "epoch": 1,
        "observation": seen | {"headings": [], "text": "There is nothing to do here."},
        "thought": "On I go.",
        "action": {"kind": "follow", "element": 1, "target": "Next"},
        "sentiment": 0.5,
        "result": seen,
        "started_at": datetime.now(UTC),
        "duration_ms": 0,
    }
    try:
        with store.engine.execution_options(write=True).connect() as connection:
            began = time.monotonic()
            for index in range(count):
                connection.execute(insert(table).values(row | {"ordinal": index}))
                connection.commit()
            return count / (time.monotonic() - began)
    finally:
        store.dispose()
        bench.drop_store(url)
