"""Row 5: from a cancel's answer to the abort of the steps in flight, and nobody who was cancelled begins."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from tests.bench.figures import Comparison, at_most
from tests.bench.installation import Bench, Installation
from tests.servers import wait_until
from understudy.domain.lifecycle import Status
from understudy.store.schema import Tables

NUMBER = 5
NAME = "from cancel's answer to the abort of a step in flight"

_p = Tables.participant


def measure(bench: Bench) -> Iterator[Comparison]:
    each, waiting = bench.size(300, 3), bench.size(200, 2)
    p99s: list[float] = []
    medians: list[float] = []
    answers: list[float] = []
    begun_later: list[float] = []
    for _ in range(bench.pairs):
        answer_ms, cut_ms, begun = cancel(bench, each, waiting)
        answers.append(answer_ms)
        medians.append(statistics.median(cut_ms))
        p99s.append(sorted(cut_ms)[int(len(cut_ms) * 0.99)])
        begun_later.append(begun)
    full = f"{each} running in each of 2 processes, {waiting} more waiting"
    more = {"median_ms": medians, "answer_ms": answers}
    yield Comparison(f"{NAME}, p99; {full}", "ms", p99s, goal=at_most(100), more=more)
    yield Comparison("steps of cancelled ones that began later", "", begun_later, goal=at_most(0))


def cancel(bench: Bench, each: int, waiting: int) -> tuple[float, list[float], int]:
    """Milliseconds until the answer, and from it to each abort; how many steps began after it."""
    with bench.stage() as stage:
        return on_stage(stage, each, waiting)


def on_stage(stage: Installation, each: int, waiting: int) -> tuple[float, list[float], int]:
    """`cancel`, on a stage that is there."""
    log = Path(stage.settings.data_dir) / "steps.log"
    log.write_text("")

    def noted(what: str) -> list[float]:
        # Without the last one, of which only a part may be there yet.
        lines = (line.split() for line in log.read_text().split("\n")[:-1])
        return [float(at) for name, at in lines if name == what]

    client = stage.client()
    workers = stage.fleet.start("run-1", "run-2", "control", concurrency=each)
    # Processes that were just started have things to do that are done once.
    first = stage.participants(1, wait_s=600, log=str(log))
    stage.publish(first)
    wait_until(lambda: len(noted("begun")) == 1)
    client.post(f"/v1/participants/{first[0]}/cancel")
    wait_until(lambda: len(noted("cut")) == 1)
    log.write_text("")
    ids = stage.participants(2 * each + waiting, wait_s=600, log=str(log))
    with stage.store.read() as connection:
        study_id = connection.scalar(select(_p.c.study_id).where(_p.c.id == ids[0]))
    stage.publish(ids)
    wait_until(lambda: len(noted("begun")) == 2 * each, 60, "all slots are taken")
    # What starting them took is over.
    time.sleep(1)
    asked_at = time.monotonic()
    answer = client.post("/v1/simulations/cancel", json={"study_id": str(study_id)})
    answered_at = time.monotonic()
    assert answer.json()["summary"]["cancelled_count"] == len(ids), answer.text
    wait_until(lambda: len(noted("cut")) == 2 * each, 60, "all steps are cut")
    # The messages of those that waited find nothing, now that there is room for them.
    wait_until(lambda: stage.queued() == 0, 60, "no message waits")
    time.sleep(1)
    with stage.store.read() as connection:
        assert set(connection.scalars(select(_p.c.status).where(stage.of(ids)))) == {Status.CANCELLED}
    begun = sum(at > answered_at for at in noted("begun"))
    for worker in workers:
        worker.stop()
    return (answered_at - asked_at) * 1000, [(at - answered_at) * 1000 for at in noted("cut")], begun
