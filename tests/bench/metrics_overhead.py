"""`python -m tests.bench.metrics_overhead`: measures the cost of metrics, in a worker and in an API process.

`worker`: interactions per second and processor time of a worker that Prometheus reads every second, beside
one that counts nothing. `look`: what reading an API process costs a store with 1,000,000 interactions and
150,000 participants, 100,000 of which are pending.
"""

import argparse
import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import httpx
from sqlalchemy import Connection, Engine, insert, update

from tests.bench.figures import Comparison, table
from tests.bench.installation import Bench, Installation, opened
from tests.servers import Process
from understudy.domain.lifecycle import Status
from understudy.store import leases, participants
from understudy.store.backlog import backlog
from understudy.store.schema import Tables

UNCOUNTED = Path(__file__).parent / "metrics_disabled"
CONCURRENCY, PARTICIPANTS, STEPS = 100, 400, 25
PENDING, ENDED, EACH = 100_000, 50_000, 20
#: Participants that one transaction makes.
CHUNK = 2_500
#: How those that ended did, chunk by chunk.
ENDS = [Status.COMPLETED] * 16 + [Status.CANCELLED] * 3 + [Status.FAILED]
_p = Tables.participant


class Run(NamedTuple):
    """What a worker did."""

    per_s: float
    cpu_ms: float


def worker(bench: Bench) -> Iterator[Comparison]:
    """What counting costs a worker."""
    counted: list[Run] = []
    uncounted: list[Run] = []
    for _ in range(bench.pairs):
        counted.append(_run(bench, counted=True))
        uncounted.append(_run(bench, counted=False))
    for what, unit, which in (("interactions", "1/s", 0), ("processor time of each", "ms", 1)):
        yield Comparison(what, unit, [run[which] for run in counted], "not counted", [run[which] for run in uncounted])


def _run(bench: Bench, *, counted: bool) -> Run:
    variables = {"UNDERSTUDY_METRICS_PORT": "0"}
    if not counted:
        variables = {"PYTHONPATH": os.pathsep.join([str(UNCOUNTED), os.environ["PYTHONPATH"]])}
    with bench.stage() as stage:
        ids = stage.participants(PARTICIPANTS, STEPS)
        stage.publish(ids)
        (process,) = stage.fleet.start("run-1", concurrency=CONCURRENCY, **variables)
        with _read(process) if counted else contextlib.nullcontext():
            stage.finish(ids)
            spent_s = sum(map(int, _stat(process)[11:13])) / os.sysconf("SC_CLK_TCK")
        many = PARTICIPANTS * STEPS
        return Run(many / stage.took_s(ids), spent_s / many * 1000)


def _stat(process: Process) -> list[str]:
    return Path(f"/proc/{process.popen.pid}/stat").read_text().rpartition(")")[2].split()


@contextlib.contextmanager
def _read(process: Process) -> Iterator[None]:
    """Have its metrics read every second for the time of the block."""
    (url,) = re.findall(r"metrics at (\S+/metrics)", process.log.read_text())
    enough = threading.Event()

    def read() -> None:
        while not enough.wait(1):
            httpx.get(url, trust_env=False).raise_for_status()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def look(bench: Bench) -> Iterator[Comparison]:
    """What a look costs a store, and counting those who rest."""

    def figures(connection: Connection) -> None:
        leases.count_live(connection)
        participants.active_counts(connection)
        backlog(connection, [10])

    with bench.stage() as stage:
        _fill(stage)
        _vacuum(stage.store.engine)
        for what, ask in (("a look", figures), ("a count of those who rest", participants.inactive_counts)):
            yield Comparison(what, "ms", [_took_ms(stage, ask) for _ in range(11)])


def _took_ms(stage: Installation, ask: Callable[[Connection], object]) -> float:
    began = time.perf_counter()
    with stage.store.read() as connection:
        ask(connection)
    return (time.perf_counter() - began) * 1000


def _fill(stage: Installation) -> None:
    for k in range(ENDED // CHUNK):
        ids = stage.participants(CHUNK)
        stage.store.write(partial(_end, ids=ids, status=ENDS[k]))
    for _ in range(PENDING // CHUNK):
        # One in ten was not sent yet.
        sent = _p.c.id.in_(stage.participants(CHUNK)[CHUNK // 10 :])
        sending = update(_p).where(sent).values(dispatched_at=datetime.now(UTC))
        stage.store.write(lambda connection, sending=sending: connection.execute(sending))  # type: ignore[misc]


def _end(connection: Connection, ids: list[UUID], status: Status) -> None:
    now = datetime.now(UTC)
    ended = {"status": str(status), "finished_at": now, "stopped_at": now, "pending_since": None}
    connection.execute(update(_p).where(_p.c.id.in_(ids)).values(interaction_count=EACH, **ended))
    same = {
        "epoch": 1,
        "observation": {"url": "https://shop/catalogue?page=3", "title": "Catalogue", "text": "x" * 400},
        "thought": "I look for a mug.",
        "action": {"kind": "click", "target": "link"},
        "sentiment": 0.1,
        "result": {},
        "started_at": now,
        "duration_ms": 500,
    }
    rows = [same | {"participant_id": id_, "ordinal": ordinal} for id_, ordinal in product(ids, range(EACH))]
    connection.execute(insert(Tables.interaction), rows)


def _vacuum(engine: Engine) -> None:
    # What autovacuum does within a minute.
    if engine.dialect.name == "postgresql":
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE participant")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.metrics_overhead", description=__doc__)
    parser.add_argument("what", choices=["worker", "look"])
    parser.add_argument("--store", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each worker, taken in turn")
    options = parser.parse_args()
    measure = {"worker": worker, "look": look}[options.what]
    with opened(options.store or ["sqlite", "postgresql"], pairs=options.pairs, smoke=False) as benches:
        measured = [(0, bench.kind, one) for bench in benches for one in measure(bench)]
    print(table(measured))  # noqa: T201


if __name__ == "__main__":
    main()
