"""Row 4: `simulation_cancel` of a study with 10,000 active participants, from request to answer."""

import gc
import time
from collections.abc import Iterator
from functools import partial
from uuid import UUID

import httpx
from sqlalchemy import select, update

from tests.bench.figures import Comparison, Point, at_most
from tests.bench.installation import Bench, Installation
from tests.servers import wait_until
from understudy.domain.lifecycle import ACTIVE, Status
from understudy.domain.queues import Queue
from understudy.store.engine import store_clock
from understudy.store.events import assign_positions
from understudy.store.schema import Tables

NUMBER = 4
NAME = "cancel of a study, from request to answer"

_p = Tables.participant


def measure(bench: Bench) -> Iterator[Comparison]:
    count = bench.size(10_000, 10)
    with bench.stage() as stage:
        client = stage.client()
        # A process that was just started has things to do that are done once.
        ours(stage, client, 10)
        mine, theirs = bench.interleave(partial(ours, stage, client, count), partial(bulk_update, stage, count))
    what = f"{NAME}, {count:,} active"
    yield Comparison(what, "s", mine, "one UPDATE … RETURNING", theirs, at_most(4))


def ours(stage: Installation, client: httpx.Client, count: int) -> float:
    """Seconds until the whole envelope is there."""
    study_id = _study_of(stage, count)
    began = time.monotonic()
    answer = client.post("/v1/simulations/cancel", json={"study_id": str(study_id)})
    took_s = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    # What it does behind its answer is not to be in the way of the next one.
    wait_until(lambda: stage.queued(Queue.CONTROL) == count, 60, "all stop tasks are published")
    stage.flush_broker()
    while stage.store.write(assign_positions):
        pass
    assert answer.json()["summary"] == {"total": count, "cancelled_count": count, "skipped_count": 0}
    return took_s


def bulk_update(stage: Installation, count: int) -> float:
    """Seconds for the least that can be done to the same rows: no events, no answer for each."""
    study_id = _study_of(stage, count)
    statement = (
        update(_p)
        .where(_p.c.study_id == study_id, _p.c.status.in_([str(status) for status in sorted(ACTIVE)]))
        .values(status=str(Status.CANCELLED), finished_at=store_clock(), seq=_p.c.seq + 1)
        .returning(_p.c.id, _p.c.seq)
    )
    # The API does so when it starts: looking for garbage is not to be a part of either figure.
    gc.collect()
    gc.freeze()
    began = time.monotonic()
    moved = stage.store.write(lambda connection: connection.execute(statement).all())
    took_s = time.monotonic() - began
    assert len(moved) == count
    return took_s


def _study_of(stage: Installation, count: int) -> UUID:
    """A new study of which so many are pending."""
    ids = stage.participants(count)
    with stage.store.read() as connection:
        study_id: UUID = connection.execute(select(_p.c.study_id).where(_p.c.id == ids[0])).scalar_one()
    return study_id


def grow(bench: Bench) -> Iterator[Point]:
    """Until so many are cancelled."""
    with bench.stage() as stage:
        client = stage.client()
        ours(stage, client, 10)
        for size in (10, 100, 1_000, 10_000, 100_000):
            for _ in range(bench.pairs):
                yield Point("cancel of a study", size, ours(stage, client, size))
