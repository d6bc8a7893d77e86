"""Measures the capacity of one of each part, for docs/scaling.md: `python -m tests.bench.capacity`.

Interactions per second of one, two and three worker processes on one store, and what processor time an
interaction costs worker and store; bytes of disk per interaction; events per second that get their
positions; what a waiting message takes of the broker's memory; requests per second of one API process, what
they cost it, and what large bodies take of its memory.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import redis
import sqlalchemy
from sqlalchemy import func, select, text

from tests.bench.installation import Bench, Installation, opened, peak_memory_mb
from tests.bench.rows import row07_run
from tests.factories import make_study
from understudy.domain.people import generate_people
from understudy.sequencer import assign_positions
from understudy.store.engine import Store
from understudy.store.schema import Tables

#: Participants of each worker process, and interactions of each.
EACH, STEPS, CONCURRENCY = 200, 50, 100
#: Messages that wait, requests that are asked, and by how many at a time.
MESSAGES, REQUESTS, CALLERS = 10_000, 2_000, 8
#: Entries of a body.
BODY = 10_000


def workers(bench: Bench, count: int, partitions: int = 0) -> Iterator[str]:
    """So many worker processes on one store; then one process that gives positions to what happened."""
    with bench.stage() as stage:
        if partitions:
            _partition(stage.store, partitions)
        ids = stage.participants(EACH * count, STEPS)
        stage.publish(ids)
        before, empty = _store_cpu_s(stage.store), _bytes(stage.store)
        processes = stage.fleet.start(*(f"run-{n}" for n in range(count)), concurrency=CONCURRENCY)
        started = [_cpu_s(process.popen.pid) for process in processes]
        stage.finish(ids)
        many = EACH * STEPS * count
        spent_s = sum(_cpu_s(process.popen.pid) for process in processes) - sum(started)
        store_s = _store_cpu_s(stage.store) - before
        size = _bytes(stage.store) - empty
        per_s = many / stage.took_s(ids)
        stage.fleet.stop()
        with stage.store.read() as connection:
            events = connection.scalar(select(func.count()).select_from(Tables.event)) or 0
        began = time.monotonic()
        assign_positions(stage.store)
        positions_per_s = events / (time.monotonic() - began)
    store = "in the workers" if bench.kind == "sqlite" else f"{store_s / many * 1e3:.2f} ms of the store's"
    yield (
        f"{count} worker(s): {per_s:,.0f} interactions/s; each {spent_s / many * 1e3:.2f} ms of a worker's "
        f"processor, {store}; {size / many:,.0f} bytes of disk"
    )
    yield f"one sequencer: {positions_per_s:,.0f} events/s get their positions, of {events:,}"


def broker(bench: Bench) -> str:
    """Memory of messages that wait."""
    with bench.stage() as stage, contextlib.closing(redis.Redis.from_url(bench.broker_url)) as client:
        ids = stage.participants(MESSAGES)
        before = client.info("memory")["used_memory"]  # type: ignore[index]
        stage.publish(ids)
        after = client.info("memory")["used_memory"]  # type: ignore[index]
        stage.flush_broker()
    return f"broker: {(after - before) / MESSAGES:,.0f} bytes for each run message that waits"


def api(bench: Bench) -> Iterator[str]:
    """Requests per second of one API process, asked by several callers at a time."""
    with bench.stage() as stage:
        url = stage.api()
        (id_, *_) = stage.participants(200)
        paths = {"a participant": f"/v1/participants/{id_}", "a page of 50 participants": "/v1/participants"}
        for what, path in paths.items():
            yield f"api: {_asked(stage, url, 'GET', [path] * REQUESTS)}, of {what}"
        sources = [_cancelled(stage, one) for one in stage.participants(REQUESTS // 4)]
        extends = [f"/v1/participants/{source}/extend" for source in sources]
        yield f"api: {_asked(stage, url, 'POST', extends)}, of extends"
        row07_run.populate(stage, 10_000)
        took_s = row07_run.ours(stage, stage.client(), 10_000)
        yield f"api: {10_000 / took_s:,.0f}/s participants dispatched, by runs of 10,000"


def bodies(bench: Bench) -> Iterator[str]:
    """The most memory that an API process held during requests with bodies of few entries and of many."""
    with bench.stage() as stage:
        url = stage.api()
        headers = {"Authorization": f"Bearer {stage.token}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:

            def ask(what: str, path: str, body: dict[str, Any]) -> tuple[Any, str]:
                # From now on its peak counts anew.
                Path(f"/proc/{stage.pids[url]}/clear_refs").write_text("5")
                answer = client.post(path, json=body).raise_for_status()
                held = f"{peak_memory_mb(stage.pids[url]):.0f} MB held at most, {len(answer.content):,} bytes"
                return answer.json(), f"api, {what}: {held} in the answer"

            for count in (10, BODY):
                profiles = [asdict(person) for person in generate_people(count, 1)]
                yield ask(f"making {count:,} people", "/v1/people", {"people": profiles})[1]
                study_id, _ = make_study(stage.store, stage.workspace_id)
                answer, line = ask(f"a run of {count:,}", f"/v1/studies/{study_id}/run", {"sample": count})
                yield line
                ids = [state["participant_id"] for state in answer["participants"]]
                scope = {"study_id": str(study_id)}
                yield ask(f"cancelling {count:,}", "/v1/simulations/cancel", scope)[1]
                yield ask(f"a wait for {count:,}", "/v1/simulations/wait", {"participant_ids": ids})[1]


def _cancelled(stage: Installation, id_: UUID) -> UUID:
    with stage.store.engine.begin() as connection:
        connection.execute(
            text("UPDATE participant SET status = 'cancelled', finished_at = created_at WHERE id = :id"),
            {"id": id_.hex if stage.store.engine.dialect.name == "sqlite" else id_},
        )
    return id_


def _asked(stage: Installation, url: str, method: str, paths: Sequence[str]) -> str:
    """How many per second, and what each takes of the process's time."""
    headers = {"Authorization": f"Bearer {stage.token}"}

    def ask(some: Iterable[str]) -> None:
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
            for path in some:
                client.request(method, path).raise_for_status()

    began, before_s = time.monotonic(), _cpu_s(stage.pids[url])
    with ThreadPoolExecutor(CALLERS) as callers:
        # What one of them raises is raised here.
        list(callers.map(ask, (paths[n::CALLERS] for n in range(CALLERS))))
    per_s = len(paths) / (time.monotonic() - began)
    each_ms = (_cpu_s(stage.pids[url]) - before_s) / len(paths) * 1e3
    return f"{per_s:,.0f}/s, each {each_ms:.1f} ms of its processor"


def _stat(pid: int) -> list[int]:
    """From the parent's pid on; times are in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) for field in fields[1:]]


def _cpu_s(pid: int) -> float:
    return sum(_stat(pid)[10:12]) / os.sysconf("SC_CLK_TCK")


def _store_cpu_s(store: Store) -> float:
    """Of all processes of a PostgreSQL server, those included that have ended; 0 for SQLite."""
    if store.engine.dialect.name == "sqlite":
        return 0
    with store.engine.connect() as connection:
        server = _stat(connection.scalar(text("SELECT pg_backend_pid()")) or 0)[0]
    # Who has ended is in what its parent has waited for.
    spent = sum(_stat(server)[10:14])
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and (stat := _stat(int(folder.name)))[0] == server:
                spent += sum(stat[10:12])
    return spent / os.sysconf("SC_CLK_TCK")


def _partition(store: Store, count: int) -> None:
    """Have interactions, of which there are none yet, in so many parts. Only PostgreSQL knows of them."""
    with store.engine.begin() as connection:
        for statement in (
            "ALTER TABLE interaction RENAME TO interaction_whole",
            "CREATE TABLE interaction (LIKE interaction_whole INCLUDING ALL,"
            " FOREIGN KEY (participant_id) REFERENCES participant) PARTITION BY HASH (participant_id)",
            *(
                f"CREATE TABLE interaction_{k} PARTITION OF interaction"
                f" FOR VALUES WITH (MODULUS {count}, REMAINDER {k})"
                for k in range(count)
            ),
            "DROP TABLE interaction_whole",
        ):
            connection.exec_driver_sql(statement)


def _bytes(store: Store) -> int:
    """Of the whole store."""
    with store.engine.connect() as connection:
        if store.engine.dialect.name == "sqlite":
            pages, size = (connection.scalar(text(f"PRAGMA page_{what}")) or 0 for what in ("count", "size"))
            return int(pages * size)
        tables = sqlalchemy.inspect(connection).get_table_names()
        size_of = text("SELECT pg_total_relation_size(:name)")
        return sum(int(connection.scalar(size_of, {"name": name}) or 0) for name in tables)


def _lines(bench: Bench, partitions: int) -> Iterator[str]:
    for count in (1, 2, 3):
        yield from workers(bench, count, partitions)
    if not partitions:
        yield broker(bench)
        yield from api(bench)
        yield from bodies(bench)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.capacity", description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument("--partitions", type=int, default=0, help="interactions in so many, workers only")
    given = parser.parse_args()
    with opened([given.store], pairs=1, smoke=False) as (bench,):
        for line in _lines(bench, given.partitions):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
