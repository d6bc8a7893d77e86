"""Row 4: `simulation_cancel` of a study with 10,000 active participants, from request to answer."""

import time
from collections.abc import Iterator
from functools import partial
from uuid import UUID

import httpx
from sqlalchemy import select, update

from shared.domain.lifecycle import ACTIVE, Status
from shared.store.engine import store_clock
from shared.store.schema import Tables
from tests.bench.figures import Comparison, Point, at_most
from tests.bench.stage import Bench, Stage

NUMBER = 4
NAME = "cancel of a study, from request to answer"

_p = Tables.participant


def measure(bench: Bench) -> Iterator[Comparison]:
    count = bench.size(10_000, 10)
    with bench.stage() as stage:
        api = stage.api()
        # A process that was just started has things to do that are done once.
        ours(stage, api, 10)
        mine, theirs = bench.interleave(partial(ours, stage, api, count), partial(bulk_update, stage, count))
    what = f"{NAME}, {count:,} active"
    yield Comparison(what, "s", mine, "one UPDATE … RETURNING", theirs, at_most(4))


def ours(stage: Stage, api: str, count: int) -> float:
    """Seconds until the whole envelope is there."""
    study_id = _study_of(stage, count)
    began = time.monotonic()
    answer = httpx.post(
        f"{api}/v1/simulations/cancel",
        headers={"Authorization": f"Bearer {stage.token}"},
        json={"study_id": str(study_id)},
        timeout=60,
    )
    took_s = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    assert answer.json()["summary"] == {"total": count, "cancelled_count": count, "skipped_count": 0}
    return took_s


def bulk_update(stage: Stage, count: int) -> float:
    """Seconds for the least that can be done to the same rows: no events, no answer for each."""
    study_id = _study_of(stage, count)
    statement = (
        update(_p)
        .where(_p.c.study_id == study_id, _p.c.status.in_([str(status) for status in sorted(ACTIVE)]))
        .values(status=str(Status.CANCELLED), finished_at=store_clock(), seq=_p.c.seq + 1)
        .returning(_p.c.id, _p.c.seq)
    )
    began = time.monotonic()
    moved = stage.store.write(lambda connection: connection.execute(statement).all())
    took_s = time.monotonic() - began
    assert len(moved) == count
    return took_s


def _study_of(stage: Stage, count: int) -> UUID:
    """A new study of which so many are pending."""
    ids = stage.participants(count)
    with stage.store.read() as connection:
        study_id: UUID = connection.execute(select(_p.c.study_id).where(_p.c.id == ids[0])).scalar_one()
    return study_id


def grow(bench: Bench) -> Iterator[Point]:
    """Until so many are cancelled."""
    with bench.stage() as stage:
        api = stage.api()
        ours(stage, api, 10)
        for size in (10, 100, 1_000, 10_000, 100_000):
            for _ in range(bench.pairs):
                yield Point("cancel of a study", size, ours(stage, api, size))
