"""Row 6, second half: from the answer of an extend to the child's first interaction, with an idle worker."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import httpx
from sqlalchemy import select

from tests.bench.figures import Comparison, at_most
from tests.bench.installation import Bench, Installation
from tests.bench.journeys import completed_journey
from tests.servers import wait_until
from understudy.store.schema import Tables

NUMBER = 6
NAME = "extend: from its answer to the child's first new interaction"
HISTORY = (100, 1_000, 10_000)


def measure(bench: Bench) -> Iterator[Comparison]:
    lengths = HISTORY[:1] if bench.smoke else HISTORY
    with bench.stage() as stage:
        api = stage.api()
        stage.fleet.start("run-1", "sweeper-1", concurrency=100)
        sources = [completed_journey(stage, length) for length in lengths]
        # What happens once only, in a process that was just started, is not counted.
        first_step_ms(stage, api, sources[0])
        ours = [partial(first_step_ms, stage, api, source) for source in sources]
        forks = [partial(_fork_ms, bench, length) for length in lengths[:2]]
        samples = bench.interleave(*ours, *forks)
    for length, mine in zip(lengths, samples, strict=False):
        yield Comparison(f"{NAME}, history of {length:,}", "ms", mine, goal=at_most(100))
    for length, mine, theirs in zip(lengths, samples, samples[len(lengths) :], strict=False):
        yield Comparison(f"the same, history of {length:,}", "ms", mine, "a fork of DBOS", theirs)


def _fork_ms(bench: Bench, steps: int) -> float | None:
    """The same of DBOS: from the answer to a fork to the first step that is not taken over."""
    fork = bench.rival("dbos_fork", database_url=bench.store_url(), steps=steps)
    return fork and float(fork["first_step_ms"])


def first_step_ms(stage: Installation, api: str, source: UUID) -> float:
    """Milliseconds by the clock of this machine, which is the store's: from here to the commit."""
    answer = httpx.post(
        f"{api}/v1/participants/{source}/extend",
        headers={"Authorization": f"Bearer {stage.token}"},
        json={"additional_steps": 1},
        timeout=30,
    )
    answered_at = datetime.now(UTC)
    assert answer.status_code == 202, answer.text
    child = UUID(answer.json()["dispatch"]["participant_ids"][0])
    event = Tables.event
    first = select(event.c.at).where(event.c.participant_id == child, event.c.kind == "interaction")

    def committed() -> datetime | None:
        time.sleep(0.05)
        with stage.store.read() as connection:
            return connection.scalar(first)

    at: datetime = wait_until(committed, 60, "the first new interaction")
    return (at - answered_at).total_seconds() * 1000
