"""Row 2: participants of one interaction that one worker process takes from the queue to their end."""

from collections.abc import Iterator
from functools import partial

from tests.bench.figures import Comparison, at_least
from tests.bench.installation import Bench, Installation

NUMBER = 2
NAME = "participants of one interaction, end to end per second"
CONCURRENCY = 100


def measure(bench: Bench) -> Iterator[Comparison]:
    count = bench.size(2_000, 10)
    mine, theirs = bench.interleave(partial(ours, bench, count), partial(celery, bench, count))
    goal = at_least(0.5) if bench.kind == "sqlite" else None
    yield Comparison(NAME, "1/s", mine, "bare Celery's no-op tasks, threads", theirs, goal)


def ours(bench: Bench, count: int) -> float:
    """All are queued; then a worker starts. Counted from the first claim to the last end."""
    with bench.stage() as stage:
        return on_stage(stage, count)


def on_stage(stage: Installation, count: int) -> float:
    """`ours`, on a stage that is there."""
    ids = stage.participants(count)
    stage.publish(ids)
    (worker,) = stage.fleet.start("run-1", concurrency=CONCURRENCY)
    stage.finish(ids)
    worker.stop()
    return count / stage.took_s(ids)


def celery(bench: Bench, count: int) -> float | None:
    """The same with tasks that do nothing: from the first one's start to the last one's end."""
    how = {"broker_url": bench.broker_url, "count": count, "concurrency": CONCURRENCY}
    answer = bench.rival("celery_noop", **how)
    return None if answer is None else count / float(answer["took_s"])
