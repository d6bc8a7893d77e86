"""Row 10: what the other rows measure, in a store that is full beside one that is empty."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from uuid import UUID

import httpx
from sqlalchemy import select, update

from tests.bench.figures import Comparison, Goal, at_least, at_most
from tests.bench.installation import Bench, Installation
from tests.bench.journeys import completed_journey
from tests.bench.rows import (
    row01_interactions,
    row02_participants,
    row03_concurrency,
    row04_cancel,
    row05_abort,
    row06_extend,
    row07_publishing,
    row07_run,
    row08_waits,
)
from tests.plans.seed_data import EACH, STEPS, fill
from understudy.domain.lifecycle import Status
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

NUMBER = 10
NAME = "beside 100,000 pending participants and 1,000,000 interactions"
#: As many times as long, at most; or as many times less.
BOUND = 1.5

_p = Tables.participant


class Prepared:
    """A stage with all that is measured on it."""

    def __init__(self, bench: Bench, stage: Installation) -> None:
        self.bench = bench
        self.stage = stage
        self.client: httpx.Client = stage.client()
        row07_run.populate(stage, self.size(10_000, 10))
        self.source: UUID = completed_journey(stage, self.size(1_000, 4))
        #: From the answers of cancels to the aborts, p99 of each.
        self.aborts_ms: list[float] = []
        # What processes that were just started do once.
        row04_cancel.ours(stage, self.client, 10)
        row06_extend.answer_ms(self.client, self.source)
        row07_run.ours(stage, self.client, 10)

    def size(self, full: int, smoke: int) -> int:
        return self.bench.size(full, smoke)


Take = Callable[[Prepared], float]


def _abort_ms(it: Prepared) -> float:
    """From the request on: a few milliseconds around the answer, some before it, have no ratio."""
    answer_ms, cut_ms, _ = row05_abort.on_stage(it.stage, it.size(300, 3), it.size(200, 2))
    it.aborts_ms.append(sorted(cut_ms)[int(len(cut_ms) * 0.99)])
    return answer_ms + it.aborts_ms[-1]


def _waits_s(it: Prepared) -> float:
    url = str(it.client.base_url).rstrip("/")
    return row08_waits.on_stage(it.stage, url, it.size(5_000, 12), it.size(200, 4)).all_s


#: Number of the row, what is measured, its unit, and how.
TAKES: tuple[tuple[int, str, str, Take], ...] = (
    (
        *(1, "committed interactions per second", "1/s"),
        lambda it: row01_interactions.on_stage(it.stage, it.size(400, 4), it.size(25, 3)),
    ),
    (
        *(2, "short participants per second", "1/s"),
        lambda it: row02_participants.on_stage(it.stage, it.size(2_000, 10)),
    ),
    (
        *(3, "500 participants whose steps wait 1 s each", "s"),
        lambda it: row03_concurrency.on_stage(it.stage, it.size(500, 5), 0.05 if it.bench.smoke else 1)[0],
    ),
    (
        *(4, "cancel of 10,000", "s"),
        lambda it: row04_cancel.ours(it.stage, it.client, it.size(10_000, 10)),
    ),
    (5, "from a cancel's request to the abort, p99", "ms", _abort_ms),
    (
        *(6, "extend, history of 1,000, until the answer", "ms"),
        lambda it: row06_extend.answer_ms(it.client, it.source),
    ),
    (
        *(7, "study_run of 10,000, until the answer", "s"),
        lambda it: row07_run.ours(it.stage, it.client, it.size(10_000, 10)),
    ),
    (
        *(7, "run messages published per second", "1/s"),
        lambda it: row07_publishing.on_stage(it.stage, it.size(10_000, 10)),
    ),
    (8, "5,000 waits that end at once, until the last answer", "s", _waits_s),
)


def measure(bench: Bench) -> Iterator[Comparison]:
    pending, interactions = bench.size(100_000, 100), bench.size(1_000_000, EACH * STEPS)
    full = bench.filled(lambda store: crowd(store, pending, interactions))
    with contextlib.ExitStack() as held:
        there, nothing = (Prepared(one, held.enter_context(one.stage())) for one in (full, bench))
        # To see that it works, some of them will do.
        for row, what, unit, take in TAKES[::8] if bench.smoke else TAKES:
            mine, beside = bench.interleave(partial(take, there), partial(take, nothing))
            goal: Goal = at_least(1 / BOUND) if unit == "1/s" else at_most(BOUND)
            yield Comparison(f"row {row} in a full store: {what}", unit, mine, "empty store", beside, goal)
        if there.aborts_ms:
            what = "row 5 in a full store: from a cancel's answer to the abort, p99"
            yield Comparison(what, "ms", there.aborts_ms, goal=at_most(100))


def crowd(store: Store, pending: int, interactions: int) -> None:
    """A store that has been at work, with so many who wait: their messages are published, and unconsumed."""
    filled = fill(store, interactions)
    ended = select(_p.c.id).where(_p.c.status == str(Status.COMPLETED)).limit(pending).scalar_subquery()
    waits = {
        "status": str(Status.PENDING),
        "outcome": None,
        "finished_at": None,
        "worker_id": None,
        "pending_since": store_clock(),
        "dispatched_at": store_clock(),
    }
    here = _p.c.workspace_id == filled.workspace_id
    store.write(lambda connection: connection.execute(update(_p).where(here, _p.c.id.in_(ended)).values(waits)))
