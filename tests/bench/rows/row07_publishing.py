"""Row 7, second half: the run messages of 10,000 participants, from the first owned to the last published."""

import time
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

from tests.bench.figures import Comparison, Point, at_least
from tests.bench.installation import Bench, Installation
from understudy.queue.celery.app import create_celery
from understudy.queue.publisher import Publisher
from understudy.store import leases

NUMBER = 7
NAME = "run messages published per second, one process"


def measure(bench: Bench) -> Iterator[Comparison]:
    count = bench.size(10_000, 10)
    mine, theirs = bench.interleave(partial(ours, bench, count), partial(celery, bench, count))
    yield Comparison(NAME, "1/s", mine, "Celery's apply_async in a loop", theirs, at_least(1.2))


def ours(bench: Bench, count: int) -> float:
    """Messages are owned in the store in turns of 200, as behind an answer, and sent."""
    with bench.stage() as stage:
        return on_stage(stage, count)


def on_stage(stage: Installation, count: int) -> float:
    """`ours`, on a stage that is there."""
    ids = stage.participants(count)
    publisher = Publisher(create_celery(stage.settings.broker_url), stage.store)
    # A connection is made once.
    publisher.ping()
    began = time.monotonic()
    # A window for all of them: a fleet with so many slots.
    stage.store.write(partial(leases.create_lease, worker_id=uuid4(), name="fleet", ttl_s=300, slots=count))
    publisher.enqueue_refill(len(ids))
    while stage.queued() < count:
        time.sleep(0.02)
    took_s = time.monotonic() - began
    publisher.close()
    stage.flush_broker()
    return count / took_s


def celery(bench: Bench, count: int) -> float | None:
    answer = bench.rival("celery_publish", broker_url=bench.broker_url, count=count)
    return None if answer is None else count / float(answer["took_s"])


def grow(bench: Bench) -> Iterator[Point]:
    """Until so many messages are published."""
    for size in (10, 100, 1_000, 10_000, 100_000):
        for _ in range(bench.pairs):
            yield Point("run messages published", size, size / ours(bench, size))
