"""Row 6, first half: `simulation_extend`, from request to answer, of short and long histories."""

import time
from collections.abc import Iterator
from functools import partial
from uuid import UUID

import httpx

from tests.bench.figures import Comparison, Point, at_most
from tests.bench.installation import Bench
from tests.bench.journeys import completed_journey

NUMBER = 6
NAME = "extend, from request to answer"
#: Samples of each turn: one takes a few milliseconds.
REPEATED = 20


def measure(bench: Bench) -> Iterator[Comparison]:
    short, *longer = (2, 4) if bench.smoke else (100, 1_000, 10_000)
    with bench.stage() as stage:
        client = stage.client()
        sources = {length: completed_journey(stage, length) for length in (short, *longer)}
        answer_ms(client, sources[short])
        samples = dict(
            zip(
                sources,
                bench.interleave(*(partial(answer_ms, client, one) for one in sources.values())),
                strict=True,
            )
        )
    for length in longer:
        what = f"{NAME}, history of {length:,}"
        yield Comparison(what, "ms", samples[length], f"of {short:,}", samples[short], at_most(1.2))


def answer_ms(client: httpx.Client, source: UUID) -> float:
    """Milliseconds of one, as the mean of several in a row."""
    began = time.monotonic()
    for _ in range(REPEATED):
        answer = client.post(f"/v1/participants/{source}/extend", json={"additional_steps": 1})
        assert answer.status_code == 202, answer.text
    return (time.monotonic() - began) * 1000 / REPEATED


def grow(bench: Bench) -> Iterator[Point]:
    """One extend of so long a history."""
    with bench.stage() as stage:
        client = stage.client()
        for size in (10, 100, 1_000, 10_000, 100_000):
            source = completed_journey(stage, size)
            answer_ms(client, source)
            for _ in range(bench.pairs):
                yield Point("extend", size, answer_ms(client, source) / 1000)
