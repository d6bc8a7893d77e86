"""Row 1: interactions that one worker process commits per second when nothing else is to be done."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from sqlalchemy import func, select

from tests.bench.figures import Comparison, Point, at_least
from tests.bench.installation import Bench, Installation
from tests.bench.sql_baseline import commits_per_s
from understudy.store.schema import Tables

NUMBER = 1
NAME = "committed interactions per second, one worker process"
CONCURRENCY = 100


def measure(bench: Bench) -> Iterator[Comparison]:
    def beside(name: str, **how: object) -> float | None:
        size = {"workflows": 20, "steps": bench.size(50, 2), "database_url": bench.store_url()} | how
        answer = bench.rival("dbos_steps", **size)
        bench.drop_store(str(size["database_url"]))
        return None if answer is None else float(answer["steps_per_s"])

    takers = [partial(ours, bench), partial(commits_per_s, bench, bench.size(5_000, 20))]
    takers.append(partial(beside, "as it comes"))
    if bench.kind == "sqlite":
        takers.append(partial(beside, "with WAL", wal=True))
    mine, bare, *dbos = bench.interleave(*takers)
    yield Comparison(NAME, "1/s", mine, "a bare loop of the same rows", bare, at_least(0.5))
    goals = {"sqlite": (10, 5), "postgresql": (3,)}[bench.kind]
    for name, goal, theirs in zip(("DBOS", "DBOS with WAL"), goals, dbos, strict=False):
        yield Comparison(NAME, "1/s", mine, name, theirs, at_least(goal))


def ours(
    bench: Bench,
    count: int = 400,
    each: int = 50,
    watch: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> float:
    """Interactions per second of so many participants with so many each; `watch` sees the process do it."""
    with bench.stage() as stage:
        return on_stage(stage, bench.size(count, 4), bench.size(each, 3), watch)


def on_stage(
    stage: Installation,
    count: int,
    each: int,
    watch: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> float:
    """`ours`, on a stage that is there."""
    ids = stage.participants(count, each)
    stage.publish(ids)
    (worker,) = stage.fleet.start("run-1", concurrency=CONCURRENCY)
    with watch(worker.popen.pid):
        stage.finish(ids)
    worker.stop()
    stored = select(func.count()).select_from(Tables.interaction).join(Tables.participant)
    with stage.store.read() as connection:
        committed = connection.scalar(stored.where(stage.of(ids))) or 0
    assert committed == count * each
    return committed / stage.took_s(ids)


def grow(bench: Bench) -> Iterator[Point]:
    """So many interactions in all: of 1, 10, 100, 1,000 and 10,000 participants with 10 each."""
    for size in (10, 100, 1_000, 10_000, 100_000):
        for _ in range(bench.pairs):
            yield Point("interactions", size, size / ours(bench, size // 10, 10))
