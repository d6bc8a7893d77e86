"""Row 9: pages of a long journey and of a long list, at any depth."""

import time
from collections.abc import Iterator
from functools import partial

import httpx

from tests.bench.figures import Comparison, at_most
from tests.bench.installation import Bench
from tests.bench.journeys import completed_journey

NUMBER = 9
NAME = "a page of a long journey, and of a long list"
#: Items of a page at most.
LONGEST = 500
#: Where a page begins, as parts of the whole.
DEPTHS = (0.0, 0.5, 0.98)


def measure(bench: Bench) -> Iterator[Comparison]:
    with bench.stage() as stage:
        client = stage.client()
        steps, extends = bench.size(1_000, 30), bench.size(10, 2)
        last = None
        for _ in range(extends):
            last = completed_journey(stage, steps, last)
        what = f"a page of a journey of {steps * extends:,} over {extends} extends"
        yield from _pages(bench, client, what, f"/v1/participants/{last}/interactions", steps * extends)
        count = bench.size(100_000, 100)
        for _ in range(10):
            stage.participants(count // 10)
        what = f"a page of a list of {count:,} participants"
        yield from _pages(bench, client, what, "/v1/participants", count)


def _pages(bench: Bench, client: httpx.Client, what: str, path: str, length: int) -> Iterator[Comparison]:
    """A page as it is asked for by whoever does not say how long it is to be."""
    for depth in DEPTHS:
        cursor = _cursor_at(client, path, int(length * depth))
        # What is done once only, in a process that was just started, is not counted.
        page_ms(client, path, cursor)
        (samples,) = bench.interleave(partial(page_ms, client, path, cursor))
        yield Comparison(f"{what}, from {length * depth:,.0f} on", "ms", samples, goal=at_most(50))


def page_ms(client: httpx.Client, path: str, cursor: str | None) -> float:
    began = time.monotonic()
    answer = client.get(path, params={"cursor": cursor} if cursor else {})
    took_ms = (time.monotonic() - began) * 1000
    assert answer.status_code == 200, answer.text
    assert answer.json()["items"]
    return took_ms


def _cursor_at(client: httpx.Client, path: str, start: int) -> str | None:
    """The cursor of the page that begins there, found by turning pages."""
    cursor, passed = None, 0
    while passed < start:
        limit = min(LONGEST, start - passed)
        body = client.get(path, params={"limit": limit} | ({"cursor": cursor} if cursor else {})).json()
        cursor, passed = body["next_cursor"], passed + len(body["items"])
    return cursor
