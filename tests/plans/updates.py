"""`python -m tests.plans.updates`: how many updates of hot tables stay within their page (PostgreSQL).

Such an update (HOT) writes no index and leaves nothing for vacuum: the page is tidied when it is next read.
"""

import argparse
import random
from collections.abc import Sequence

from sqlalchemy import Connection

from tests.factories import StudyStore, make_step
from tests.servers import PostgresServer
from understudy.deploy.migrate import migrate
from understudy.settings import Settings
from understudy.store import events, leases, lifecycle
from understudy.store.engine import Store
from understudy.store.guards import Claim
from understudy.store.lifecycle import Commit

# ruff: noqa: T201 - it is there to print

TABLES = ("participant", "checkpoint", "event", "lease")
#: So many start together, go so many steps, and end.
EACH, STEPS, WAVES = 200, 20, 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.plans.updates", description=__doc__)
    help_ = "fill factors to try, each set on a store of its own: participant=80,checkpoint=70, or `as-is`"
    parser.add_argument("settings", nargs="*", help=help_, default=["as-is"])
    given = parser.parse_args()
    print(f"{'':30} {'table':12} {'updates':>8} {'HOT':>6} {'dead':>7} {'KiB':>7} {'indexes':>8}")
    for setting in given.settings:
        with PostgresServer() as server:
            _try(server.url, setting)


def _try(url: str, setting: str) -> None:
    migrate(Settings(database_url=url))
    store = Store(url)
    for one in () if setting == "as-is" else setting.split(","):
        table, _, factor = one.partition("=")
        _execute(store, f"ALTER TABLE {table} SET (fillfactor = {int(factor)})")
    # What stays is what the statements themselves leave.
    for table in TABLES:
        _execute(store, f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    _work(store)
    for table in TABLES:
        updates, hot, dead, size, indexes = _told(store, table)
        share = f"{hot / updates:.0%}" if updates else "-"
        room = f"{size // 1024:>7,} {indexes // 1024:>8,}"
        print(f"{setting:30} {table:12} {updates:>8,} {share:>6} {dead:>7,} {room}")
    store.dispose()


def _work(store: Store) -> None:
    chance = random.Random(1)
    study = StudyStore(store)
    for _ in range(WAVES):
        ids = study.participants(EACH, max_interactions=50)
        claims = [Claim(row.id, row.epoch) for row in study.write(lifecycle.claim_all, ids, study.worker_id).values()]
        for index in range(STEPS):
            # As a worker does it: a few that are ready at the same time.
            chance.shuffle(claims)
            for start in range(0, EACH, 10):
                some = claims[start : start + 10]
                store.write(lambda c, some=some, index=index: _commit(c, some, index, chance))
            store.write(lambda c: leases.renew_lease(c, study.worker_id, 60))
            while store.write(events.assign_positions):
                pass
        store.write(lambda c, claims=claims: [lifecycle.complete(c, claim, None, 5) for claim in claims])


def _commit(connection: Connection, claims: Sequence[Claim], index: int, chance: random.Random) -> None:
    # About what the heuristic mind remembers of a shop; words that do not compress to nothing.
    memory = " ".join(f"{chance.getrandbits(24):x}" for _ in range(100))
    step = make_step(index, state={"memory": memory, "environment": {"page": index}})
    assert all(lifecycle.commit_steps(connection, [Commit(claim, step, 5) for claim in claims]))


def _execute(store: Store, statement: str) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def _told(store: Store, table: str) -> tuple[int, int, int, int, int]:
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        row = connection.exec_driver_sql(
            "SELECT n_tup_upd, n_tup_hot_upd, n_dead_tup, pg_table_size(relid), pg_indexes_size(relid) "
            f"FROM pg_stat_user_tables WHERE relname = '{table}'"
        ).one()
    return row[0], row[1], row[2], row[3], row[4]


main()
