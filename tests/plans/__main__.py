"""`python -m tests.plans`: how a store with a million interactions answers what is asked all the time."""

import argparse
import tempfile
import time
from pathlib import Path

from tests.plans.queries import HOT
from tests.plans.query_plan import explain
from tests.plans.seed_data import fill
from tests.servers import PostgresServer
from understudy.deploy.migrate import migrate
from understudy.settings import Settings
from understudy.store.engine import Store

# ruff: noqa: T201 - it is there to print


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.plans", description=__doc__)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--store", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--plans", action="store_true", help="print each plan too")
    given = parser.parse_args()
    if given.store == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            _show(f"sqlite:///{Path(folder) / 'store.db'}", given.interactions, given.plans)
        return
    with PostgresServer() as server:
        _show(server.url, given.interactions, given.plans)


def _show(url: str, interactions: int, plans: bool) -> None:
    migrate(Settings(database_url=url))
    store = Store(url)
    began = time.monotonic()
    it = fill(store, interactions)
    print(f"{interactions:,} interactions in {time.monotonic() - began:.0f} s")
    print(f"{'query':24} {'statements':>10} {'ms':>9} {'pages':>8} {'rows':>8}  reads all of")
    for name, query in HOT.items():
        explain(store, query, it)
        # The second time: what is asked all the time is in memory.
        looks = explain(store, query, it)
        scans = ", ".join(sorted({scan for one in looks for scan in one.scans})) or "-"
        ms, pages, rows = (sum(one[place] for one in looks) for place in (3, 4, 5))
        print(f"{name:24} {len(looks):>10} {ms:>9.2f} {pages:>8} {rows:>8}  {scans}", flush=True)
        if plans:
            print(*(f"{one.sql}\n{one.plan}\n" for one in looks), sep="\n")
    store.dispose()


main()
