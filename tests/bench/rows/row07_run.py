"""Row 7, first half: `study_run` of 10,000 participants, from request to answer."""

import time
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import httpx
from sqlalchemy import insert, select

from tests.bench.figures import Comparison, Point, at_most
from tests.bench.installation import Bench, Installation
from tests.factories import make_study
from tests.servers import wait_until
from understudy.domain.lifecycle import Status
from understudy.domain.people import generate_people
from understudy.domain.queues import Queue
from understudy.store import leases, people
from understudy.store.schema import Tables

NUMBER = 7
NAME = "study_run, from request to answer"

_p = Tables.participant


def measure(bench: Bench) -> Iterator[Comparison]:
    count = bench.size(10_000, 10)
    with bench.stage() as stage:
        populate(stage, count)
        # All are published: a worker that starts later has so many slots.
        stage.store.write(partial(leases.create_lease, worker_id=uuid4(), name="later", ttl_s=3_600, slots=count))
        client = stage.client()
        ours(stage, client, 10)
        mine, theirs = bench.interleave(partial(ours, stage, client, count), partial(bulk_insert, stage, count))
    what = f"{NAME}, {count:,} participants"
    yield Comparison(what, "s", mine, "one bulk INSERT of the same rows", theirs, at_most(3))


def populate(stage: Installation, count: int) -> None:
    """So many people in the workspace."""
    stage.store.write(
        lambda connection: people.insert_people(connection, stage.workspace_id, generate_people(count, 1))
    )


def ours(stage: Installation, client: httpx.Client, count: int) -> float:
    """Seconds until the whole answer is there; then all its messages are waited for."""
    study_id, _ = make_study(stage.store, stage.workspace_id, content={"environment": "noop"}, mind="noop")
    began = time.monotonic()
    answer = client.post(f"/v1/studies/{study_id}/run", json={"sample": count})
    took_s = time.monotonic() - began
    assert answer.status_code == 202, answer.text
    assert len(answer.json()["participants"]) == count
    wait_until(lambda: stage.queued() == count, 120, "all messages are published")
    stage.flush_broker()
    return took_s


def bulk_insert(stage: Installation, count: int) -> float:
    """Seconds for the least that can be done: the rows, with ids and aliases that are there already."""
    study_id, (iteration_id,) = make_study(stage.store, stage.workspace_id)
    with stage.store.read() as connection:
        here = Tables.person.c.workspace_id == stage.workspace_id
        ids = connection.scalars(select(Tables.person.c.id).where(here).limit(count)).all()
        now = connection.scalar(select(Tables.study.c.created_at).where(Tables.study.c.id == study_id))
    rows = [
        {
            "id": id_,
            "alias": f"t-{id_.hex}",
            "person_id": person_id,
            "workspace_id": stage.workspace_id,
            "study_id": study_id,
            "iteration_id": iteration_id,
            "status": str(Status.PENDING),
            "queue": str(Queue.RUNS),
            "max_interactions": 20,
            "epoch": 0,
            "seq": 1,
            "attempt": 0,
            "claimed_ms": 0,
            "dispatch_no": 0,
            "seed": number,
            "interaction_count": 0,
            "branched_at": 0,
            "instruction_is_own": False,
            "created_at": now,
            "pending_since": now,
        }
        for number, (id_, person_id) in enumerate(zip(sorted(uuid4() for _ in ids), ids, strict=True))
    ]
    began = time.monotonic()
    stage.store.write(lambda connection: connection.execute(insert(_p), rows))
    return time.monotonic() - began


def grow(bench: Bench) -> Iterator[Point]:
    """Until the answer to a run of so many."""
    with bench.stage(max_participants_per_run=100_000) as stage:
        populate(stage, 100_000)
        client = stage.client()
        ours(stage, client, 10)
        for size in (10, 100, 1_000, 10_000, 100_000):
            for _ in range(bench.pairs):
                yield Point("study_run", size, ours(stage, client, size))
