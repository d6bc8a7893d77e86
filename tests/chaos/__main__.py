"""`make chaos MINUTES=30 STORE=postgresql SEED=7`: injects faults for so long, then checks the store."""

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

from tests.chaos.checker import QUARANTINE, CheckResult, Recovery, check_history
from tests.chaos.clients import Client, RequestSignals, ResponseLog, make_clients
from tests.chaos.cluster import Cluster, Outage
from tests.chaos.fault_injector import BROKER_LOSSES, FaultInjector
from tests.chaos.monitor import Monitor
from tests.chaos.void_messages import VoidMessages
from tests.e2e.store_link import locked
from tests.servers import PostgresServer, wait_until
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import TERMINAL
from understudy.domain.queues import Queue
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

#: Clients dispatch nothing while more participants are active: one worker has slots for all of them.
MAX_ACTIVE = 90
#: Seconds between two faults: 20 minutes make more than 200 kills of run workers, 50 losses of the broker.
PAUSE_S = (0.5, 2.8)
CLIENTS = 6
REPORT_EVERY_S = 10

_p = Tables.participant

#: Makes the store unavailable for so many seconds, and calls when it is.
StopStore: TypeAlias = Callable[[float, Callable[[], None]], None]


@contextlib.contextmanager
def open_store(kind: str, folder: Path) -> Iterator[tuple[str, StopStore]]:
    """Yields the URL of an empty store, and its `StopStore`."""
    if kind == "sqlite":
        file = folder / "store.db"

        def lock(for_s: float, gone: Callable[[], None]) -> None:
            with locked(f"sqlite:///{file}?timeout=30"):
                gone()
                time.sleep(for_s)

        yield f"sqlite:///{file}", lock
        return
    with PostgresServer() as server:

        def restart(for_s: float, gone: Callable[[], None]) -> None:
            with server.stopped():
                gone()
                time.sleep(for_s)

        yield server.url, restart


class Chaos:
    """One run: faults for so many minutes, then a pause until all participants are terminal, then the check."""

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
        self.responses = ResponseLog()
        self.minutes = 0.0
        self.interrupted = False

    def go(self, minutes: float, tell: Callable[[str], None] = lambda _: None, logs: Path | None = None) -> CheckResult:
        """Calls `tell` with a line every 10 s. If it is interrupted, it checks the rows so far. Keeps the logs of all
        processes in `logs`."""
        with tempfile.TemporaryDirectory(prefix="understudy-chaos-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            with open_store(self._kind, folder) as (url, stop_store):
                proxies = self._kind == "postgresql"
                cluster = Cluster(folder / "data", url, workers=self._workers, proxies=proxies, **self._settings)
                with cluster:
                    self._live(cluster, stop_store, minutes, tell)
                    result = check_history(
                        cluster.store,
                        self.responses,
                        cluster.losses,
                        drained=cluster.drained,
                        outages=cluster.outages,
                        max_attempts=cluster.settings.max_attempts,
                        has_settled=not self.interrupted,
                        seen=self._monitor.problems,
                        incidents=[at for at, _ in self.injector.begun],
                    )
                if logs is not None:
                    logs.mkdir(parents=True, exist_ok=True)
                    for log in (folder / "data").glob("*.log"):
                        shutil.copy(log, logs)
                return result

    def _live(self, cluster: Cluster, stop_store: StopStore, minutes: float, tell: Callable[[str], None]) -> None:
        self.cluster = cluster
        self._monitor = Monitor(cluster.store)
        cluster.start()
        signals = RequestSignals()
        self.injector = injector = FaultInjector(
            cluster, self._seed, signals, stop_store=stop_store, pause_s=self._pause_s
        )
        clients = make_clients(cluster.store, cluster.api, self.responses, self._clients, self._seed, signals=signals)
        began = time.monotonic()
        threads: tuple[Client | FaultInjector, ...] = (injector, *clients)
        try:
            for thread in threads:
                thread.start()
            self._watch(cluster.store, clients, began + minutes * 60, tell)
        except KeyboardInterrupt:
            self.interrupted = True
        self.minutes = (time.monotonic() - began) / 60
        for thread in threads:
            thread.stopping.set()
        if self.interrupted:
            for thread in threads:
                thread.join(15)
            cluster.stop()
            return
        try:
            for thread in threads:
                thread.join(90)
            tell("no more faults: waiting until all are terminal and all stops recorded")
            with contextlib.suppress(AssertionError):
                # The check reports those that are not.
                wait_until(lambda: _count(cluster.store, _p, _UNFINISHED, unknown=1) == 0, 180)
            if _count(cluster.store, _p, _UNFINISHED):
                tell(_stuck(cluster))
        except KeyboardInterrupt:
            self.interrupted = True
            cluster.stop()

    def _watch(self, store: Store, clients: Sequence[Client], deadline: float, tell: Callable[[str], None]) -> None:
        began = told_at = time.monotonic()
        interactions = 0
        while (now := time.monotonic()) < deadline:
            self._monitor.look()
            crowded = _count(store, _p, _ACTIVE, unknown=10**6) > self._max_active
            for client in clients:
                client.pausing.set() if crowded else client.pausing.clear()
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
        """Processes of a kind that the injector or a fault point killed."""
        return self.injector.killed[kind] + self.cluster.died[kind]

    @property
    def broker_losses(self) -> int:
        return sum(self.injector.done[name] for name in BROKER_LOSSES)


def _count(store: Store, table: sqlalchemy.Table, *where: Any, unknown: int = 0) -> int:
    """The number of such rows; `unknown` while the store is unavailable."""
    try:
        with store.read() as connection:
            return connection.scalar(select(func.count()).select_from(table).where(*where)) or 0
    except ServiceUnavailable:
        return unknown


#: Of participants: they are not terminal; they are not, or are cancelled without a recorded stop.
_ACTIVE = _p.c.status.not_in(TERMINAL)
_UNFINISHED = or_(_ACTIVE, (_p.c.status == "cancelled") & _p.c.stopped_at.is_(None))


def _stuck(cluster: Cluster) -> str:
    """The active participants, the leases, the processes and the queues."""
    with cluster.store.read() as connection:
        now = connection.scalar(select(store_clock()))
        rows = connection.execute(select(_p).where(_ACTIVE).limit(20)).all()
        leases = connection.execute(select(Tables.lease)).all()
    told = [
        f"{row.alias} {row.status} {row.queue} epoch {row.epoch} attempt {row.attempt} worker {row.worker_id}"
        f" dispatch {row.dispatch_no} at {row.dispatched_at}"
        for row in rows
    ]
    told += [f"lease {row.id} {row.name} until {row.expires_at}" for row in leases if row.expires_at > now]
    told += [f"{name} {'runs' if cluster.alive(name) else 'is dead'}" for name in cluster.names]
    with contextlib.closing(redis.Redis.from_url(cluster.broker.url)) as client:
        told += [f"{queue}: {client.llen(str(queue))} messages" for queue in Queue]
    return "\n".join([f"it is {now}", *told])


def report(chaos: Chaos, result: CheckResult) -> str:
    """The figures, one a line."""
    injector, answers = chaos.injector, chaos.responses.answers
    kinds = sorted({*injector.killed, *chaos.cluster.died})
    done = sorted(injector.done.items())
    return "\n".join(
        [
            f"minutes: {chaos.minutes:.1f}{', interrupted' if chaos.interrupted else ''}",
            f"killed: {', '.join(f'{kind} {chaos.kills(kind)}' for kind in kinds)}",
            f"of these at a fault point: {_listed(chaos.cluster.died)}",
            f"broker losses: {chaos.broker_losses}",
            *(f"fault, {name}: {count}" for name, count in done),
            f"outages, seconds in all: {_listed(_lasted(chaos.cluster.outages))}",
            f"participants: {result.participants}, {_listed(result.by_status)}",
            f"failed by kind: {_listed(result.failed)}",
            f"interactions: {result.interactions}, {result.interactions / chaos.minutes:.0f} a minute",
            f"answers: {_listed(answers)}",
            f"lost: {result.lost}",
            f"doubled: {result.doubled}",
            f"written after cancel: {result.written_after_cancel}",
            _void(result.void_messages),
            *_recovered(result.recoveries),
            *_slowest(chaos, result.recoveries),
            f"losses left out: {_listed(result.left_out)}",
            f"recovered from workers that were not lost: {len(result.uncaused)}",
            *result.uncaused[:5],
            *(f"WRONG: {one}" for one in result.problems),
            *(f"fault failed: {one}" for one in injector.failures),
        ]
    )


def _listed(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {count:.10g}" for name, count in sorted(counts.items())) or "none"


def _lasted(outages: Sequence[Outage]) -> Mapping[str, float]:
    names = {one.what for one in outages}
    return {name: round(sum(o.end - o.begin for o in outages if o.what == name), 1) for name in names}


def _void(messages: Sequence[VoidMessages]) -> str:
    worst = max((one.count for one in messages), default=0)
    ratio = max((one.count / max(one.incidents, 1) for one in messages), default=0)
    return (
        f"run messages without effect: {sum(one.count for one in messages)} of {len(messages)} participants, at most "
        f"{worst} of one, at most {ratio:.1f} per incident"
    )


def _recovered(recoveries: Sequence[Recovery]) -> Iterator[str]:
    groups = {
        "all": recoveries,
        "while a slot was free": [one for one in recoveries if not one.because],
        "quarantined, one at a time": [one for one in recoveries if QUARANTINE in one.because],
    }
    for what in sorted(set().union(*(one.because for one in recoveries)) - {QUARANTINE}):
        groups[f"no {what} for a while"] = [one for one in recoveries if what in one.because]
    for name, some in groups.items():
        yield (
            f"recoveries, {name}: {len(some)}; until pending {_spread([one.noticed_s for one in some])}; "
            f"until claimed {_spread([one.claimed_s for one in some])}"
        )


def _slowest(chaos: Chaos, recoveries: Sequence[Recovery]) -> Iterator[str]:
    """Slow recoveries while a slot was free, with the faults at that time."""
    settings = chaos.cluster.settings
    slow = [one for one in recoveries if not one.because and one.claimed_s > settings.lease_ttl_s + 3]
    for one in sorted(slow, key=lambda one: -one.claimed_s)[:8]:
        meanwhile = ", ".join(
            f"{name} {at - one.lost_at:+.1f}"
            for at, name in chaos.injector.begun
            if -settings.lease_ttl_s < at - one.lost_at < one.claimed_s
        )
        yield (
            f"slow: {one.participant_id} at epoch {one.epoch}: pending after {one.noticed_s:.1f} s, claimed "
            f"after {one.claimed_s:.1f} s; events: {one.meanwhile}; faults at: {meanwhile}"
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
    # The report has the outages of the store.
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
    result = chaos.go(options.minutes, tell, logs)
    print(report(chaos, result), flush=True)  # noqa: T201
    if result.problems or any(_slowest(chaos, result.recoveries)):
        print(f"logs of all processes: {logs}", flush=True)  # noqa: T201
    print(f"seed {options.seed}; again: {replay}", flush=True)  # noqa: T201
    return 1 if result.problems or chaos.injector.failures else 0


if __name__ == "__main__":
    sys.exit(main())
