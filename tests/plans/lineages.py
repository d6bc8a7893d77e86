"""`python -m tests.plans.lineages`: what reading a part of a long run or of a long lineage takes."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, insert, update

from tests.factories import StudyStore
from tests.servers import PostgresServer
from understudy.deploy.migrate import migrate
from understudy.settings import Settings
from understudy.store import lineage
from understudy.store.engine import Store, store_time
from understudy.store.schema import Tables

# ruff: noqa: T201 - it is there to print

#: Interactions of a lineage, and participants that share them equally.
SHAPES = ((10, 1), (1_000, 1), (10_000, 1), (1_000, 50), (10_000, 50))
REPEATS = 100
PAGE = {"url": "http://shop/page", "title": "A page", "text": "Some words. " * 20}


def main() -> None:
    print(f"{'store':12} {'interactions':>12} {'participants':>12} {'last 20':>9} {'first 50':>9} {'middle 50':>9}  ms")
    with tempfile.TemporaryDirectory() as folder:
        _measure(f"sqlite:///{Path(folder) / 'store.db'}")
    with PostgresServer() as server:
        _measure(server.url)


def _measure(url: str) -> None:
    migrate(Settings(database_url=url))
    store = Store(url)
    study = StudyStore(store)
    leaves = {shape: add_lineage(study, *shape) for shape in SHAPES}
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.invalidate()
    for (interactions, participants), leaf in leaves.items():
        figures = [
            _best_ms(store, lambda c, leaf=leaf: lineage.latest_interactions(c, leaf, 20)),
            _best_ms(store, lambda c, leaf=leaf: list(lineage.interactions(c, leaf, limit=50))),
            _best_ms(
                store, lambda c, leaf=leaf, n=interactions: list(lineage.interactions(c, leaf, after=n // 2, limit=50))
            ),
        ]
        name = store.engine.dialect.name
        print(f"{name:12} {interactions:>12,} {participants:>12}", *(f"{ms:>9.2f}" for ms in figures), flush=True)
    store.dispose()


def add_lineage(study: StudyStore, interactions: int, participants: int) -> UUID:
    """Adds a lineage of that many participants with equal parts of the interactions; returns the last one."""
    leaf, each = study.participants(max_interactions=20_000)[0], interactions // participants
    for number in range(participants):
        start, end = number * each, (number + 1) * each
        study.write(_add_interactions, leaf, start, end)
        study.cancel(leaf)
        if number < participants - 1:
            leaf = study.extend(leaf).id
    return leaf


def _add_interactions(connection: Connection, id_: UUID, start: int, end: int) -> None:
    now = store_time(connection)
    common = {"participant_id": id_, "epoch": 1, "observation": PAGE, "thought": "Well.", "result": {"url": "u"}}
    common |= {"action": {"kind": "follow"}, "sentiment": 0.1, "started_at": now, "duration_ms": 3}
    connection.execute(insert(Tables.interaction), [common | {"ordinal": ordinal} for ordinal in range(start, end)])
    connection.execute(update(Tables.participant).filter_by(id=id_).values(interaction_count=end))


def _best_ms(store: Store, read: Callable[[Connection], object]) -> float:
    times = []
    # One connection: its driver prepares a statement that is repeated, like that of a busy process.
    for _ in range(REPEATS):
        with store.read() as connection:
            began = time.perf_counter()
            read(connection)
            times.append((time.perf_counter() - began) * 1000)
    # The best one: other programs may use the machine.
    return min(times)


if __name__ == "__main__":
    main()
