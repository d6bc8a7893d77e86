"""Injects faults into a cluster at random times, by a seed."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tests.chaos.clients import RequestSignals
from tests.chaos.cluster import Cluster
from understudy.domain.errors import ServiceUnavailable
from understudy.faults import POINTS

#: The fault points at which each kind of process dies.
FAULT_POINTS = {
    "api": (
        *("run.commit", "cancel.commit", "extend.commit"),
        *("run_message.reserve", "run_message.send", "abort.send"),
    ),
    "run": ("claim.commit", "step.commit", "end.commit", "release.commit", "heartbeat.commit"),
    "sweeper": ("recover.commit", "run_message.reserve", "run_message.send"),
    "control": ("stop.commit",),
}

#: Seconds until an armed process must have reached the point at which it pauses.
PAUSE_WITHIN_S = 60
#: SQLite has one lock and no proxy per worker: these faults concern all processes, so they are rare.
RARE_ON_SQLITE = {
    "worker cut from the store": 0.5,
    "worker paused in a transaction": 1.5,
    "API paused in a transaction": 0.5,
    "sweeper paused in a transaction": 0.5,
}

#: Broker losses, as the report counts them.
BROKER_LOSSES = ("broker emptied", "broker restarted", "broker restarted empty")


class Plan(NamedTuple):
    """The next fault, after a pause, and whatever is random in it."""

    pause_s: float
    name: str
    chance: random.Random


def fault_schedule(seed: int, pause_s: tuple[float, float], weights: Mapping[str, float]) -> Iterator[Plan]:
    """The schedule of a seed; it depends on nothing else."""
    chance = random.Random(f"faults {seed}")
    number = 0
    while True:
        number += 1
        name = chance.choices(list(weights), list(weights.values()))[0]
        yield Plan(chance.uniform(*pause_s), name, random.Random(f"{seed} {number} {name}"))


class FaultInjector(threading.Thread):
    """Injects faults until it is stopped; `done` counts them by name, `killed` the processes by kind."""

    def __init__(
        self,
        cluster: Cluster,
        seed: int,
        signals: RequestSignals,
        *,
        stop_store: Callable[[float, Callable[[], None]], None],
        pause_s: tuple[float, float],
    ) -> None:
        """`stop_store` makes the store unavailable for so many seconds, and calls when it is."""
        super().__init__(name="fault injector", daemon=True)
        self._cluster = cluster
        self._signals = signals
        self._stop_store = stop_store
        #: Long faults overlap with the next ones.
        self._threads = ThreadPoolExecutor(12, "fault")
        self._broker = threading.Lock()
        self._store = threading.Lock()
        self.done: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        #: When each fault began, by the wall clock, and its name.
        self.begun: list[tuple[float, str]] = []
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self._pauses = itertools.count(1)
        weights = FAULT_WEIGHTS if cluster.proxies else FAULT_WEIGHTS | RARE_ON_SQLITE
        self._plans = fault_schedule(seed, pause_s, weights)

    def run(self) -> None:
        for plan in self._plans:
            if self.stopping.wait(plan.pause_s):
                break
            self._threads.submit(self._inject, plan)
        # Each fault ends: frozen processes continue, the broker starts again.
        self._threads.shutdown(wait=True)

    def _inject(self, plan: Plan) -> None:
        self.begun.append((time.time(), plan.name))
        try:
            if FAULTS[plan.name][1](self, plan.chance) is not False:
                self.done[plan.name] += 1
        except ServiceUnavailable:
            # The store is unavailable: the fault cannot look up its victim.
            return
        except Exception as error:  # noqa: BLE001 - the report has it
            self.failures.append(f"{plan.name}: {error!r}")

    def _one_of(self, names: list[str], chance: random.Random) -> str:
        """The first one that works, in an order that depends on the seed only."""
        order = chance.sample(names, len(names))
        return next((name for name in order if self._cluster.works(name)), order[0])

    def _worker(self, chance: random.Random) -> str:
        return self._one_of(self._cluster.workers, chance)

    def _kill(self, name: str) -> bool:
        if name in {"api", *self._cluster.workers} and not self._cluster.ready(name):
            # A process that is killed at each start holds nothing, and never works.
            return False
        killed = self._cluster.kill(name)
        if killed:
            self.killed[name.partition("-")[0]] += 1
        return killed

    def _kill_worker(self, chance: random.Random) -> bool:
        return self._kill(self._worker(chance))

    def _kill_two(self, chance: random.Random) -> bool:
        first = self._worker(chance)
        second = self._one_of([name for name in self._cluster.workers if name != first], chance)
        # Both, whether or not the first one ran.
        return any([self._kill(first), self._kill(second)])

    def _kill_during_recovery(self, chance: random.Random) -> bool:
        """Kills another worker while the participants of the first one are recovered."""
        settings = self._cluster.settings
        after_s = chance.uniform(0, settings.lease_ttl_s + settings.sweep_interval_s)
        killed = self._kill_worker(chance)
        self.stopping.wait(after_s)
        return self._kill_worker(chance) or killed

    def _kill_during(self, request: str, kind: str, chance: random.Random) -> bool:
        """Kills right after a client sends such a request."""
        name = self._worker(chance) if kind == "run" else kind
        delay_s = chance.uniform(0, 0.05)
        if not self._signals.wait(request, timeout_s=5):
            return False
        time.sleep(delay_s)
        return self._kill(name)

    def _arm(self, kind: str, chance: random.Random) -> bool:
        """Kills a process of a kind; its next start dies at a fault point."""
        name = self._one_of([name for name in self._cluster.names if name.partition("-")[0] == kind], chance)
        site = chance.choice(FAULT_POINTS[kind])
        point = chance.choice([point for point in POINTS if point.rpartition(".")[0] == site])
        self._cluster.arm(name, f"{point}=kill@{chance.randint(1, 30)}")
        return self._kill(name)

    def _pause(self, kind: str, chance: random.Random) -> bool:
        """Kills a process. Its next start pauses in a transaction, before the commit, for longer than a lease."""
        name = self._one_of([name for name in self._cluster.names if name.partition("-")[0] == kind], chance)
        point = chance.choice([f"{site}.within" for site in FAULT_POINTS[kind] if f"{site}.within" in POINTS])
        for_s = chance.uniform(1.1, 2) * self._cluster.settings.lease_ttl_s
        file = self._cluster.settings.data_dir / f"paused-{next(self._pauses)}"
        self._cluster.arm(name, f"{point}=pause:{file}@{chance.randint(1, 4)}")
        self._kill(name)
        deadline = time.monotonic() + PAUSE_WITHIN_S
        while (undo := self._cluster.freeze_paused(file)) is None:
            if self.stopping.wait(0.02) or time.monotonic() > deadline:
                # Its next start is not armed.
                self._cluster.arm(name, "", 0)
                self._cluster.kill(name)
                return False
        if not self._cluster.proxies:
            # It holds SQLite's only lock: no worker can renew its lease.
            self._cluster.lose_all()
        return self._wait_and_undo(undo, for_s)

    def _freeze(self, chance: random.Random) -> bool:
        name, for_s = self._worker(chance), self._about_a_lease(chance)
        return self._wait_and_undo(self._cluster.freeze(name), for_s)

    def _cut(self, chance: random.Random) -> bool:
        name, stall, for_s = self._worker(chance), chance.random() < 0.5, self._about_a_lease(chance)
        if not self._cluster.proxies:
            self._lose_store_for(for_s)
            return True
        return self._wait_and_undo(self._cluster.cut(name, stall=stall), for_s)

    def _about_a_lease(self, chance: random.Random) -> float:
        return chance.uniform(0.5, 2) * self._cluster.settings.lease_ttl_s

    def _wait_and_undo(self, undo: Callable[[], None] | None, for_s: float) -> bool:
        if undo is None:
            return False
        self.stopping.wait(for_s)
        undo()
        return True

    def _drain_all(self, chance: random.Random) -> bool:
        """One worker after the other, like a rolling restart."""
        drained = False
        for name in chance.sample(self._cluster.workers, len(self._cluster.workers)):
            drained |= self._cluster.drain(name)
            deadline = time.monotonic() + 20
            while not self._cluster.works(name) and time.monotonic() < deadline:
                if self.stopping.wait(0.1):
                    return drained
        return drained

    def _kill_sweepers_during_recovery(self, chance: random.Random) -> bool:
        """Kills all sweepers as soon as the first participant of a dead worker is pending again."""
        name, delay_s = self._worker(chance), chance.uniform(0, 0.05)
        if not self._kill(name):
            return False
        settings = self._cluster.settings
        self._cluster.wait_for_recovery(settings.lease_ttl_s + 2 * settings.sweep_interval_s)
        time.sleep(delay_s)
        return sum(map(self._kill, self._cluster.sweepers)) > 0

    def _empty_broker(self, _: random.Random) -> None:
        with self._broker:
            self._cluster.empty_broker()

    def _restart_broker(self, chance: random.Random, *, empty: bool) -> None:
        for_s = chance.uniform(0.2, 6)
        with self._broker, self._cluster.without_broker(empty=empty):
            self.stopping.wait(for_s)

    def _lose_store_for(self, for_s: float) -> None:
        with self._store, self._cluster.without("store"):
            self._stop_store(for_s, self._cluster.lose_all)


Inject = Callable[[FaultInjector, random.Random], bool | None]

#: By name: how often each fault is chosen, relative to the others, and what it does.
FAULTS: dict[str, tuple[float, Inject]] = {
    "worker killed": (12, FaultInjector._kill_worker),
    "two workers killed at once": (2, FaultInjector._kill_two),
    "worker killed during recovery of another": (3, FaultInjector._kill_during_recovery),
    "worker killed during cancel": (2, lambda it, chance: it._kill_during("cancel", "run", chance)),
    "worker killed during extend": (2, lambda it, chance: it._kill_during("extend", "run", chance)),
    "worker dies at a fault point": (4, lambda it, chance: it._arm("run", chance)),
    "worker paused in a transaction": (3, lambda it, chance: it._pause("run", chance)),
    "API paused in a transaction": (1, lambda it, chance: it._pause("api", chance)),
    "sweeper paused in a transaction": (1, lambda it, chance: it._pause("sweeper", chance)),
    "worker frozen": (3, FaultInjector._freeze),
    "worker cut from the store": (3, FaultInjector._cut),
    "worker drained": (3, lambda it, chance: it._cluster.drain(it._worker(chance))),
    "all workers drained": (1, FaultInjector._drain_all),
    "API killed": (3, lambda it, _: it._kill("api")),
    "API killed during cancel": (3, lambda it, chance: it._kill_during("cancel", "api", chance)),
    "API killed during extend": (3, lambda it, chance: it._kill_during("extend", "api", chance)),
    "API dies at a fault point": (3, lambda it, chance: it._arm("api", chance)),
    "sweeper killed": (2, lambda it, chance: it._kill(chance.choice(it._cluster.sweepers))),
    "sweeper killed during recovery": (2, FaultInjector._kill_sweepers_during_recovery),
    "sweeper dies at a fault point": (2, lambda it, chance: it._arm("sweeper", chance)),
    "control worker killed": (1, lambda it, _: it._kill("control")),
    "control worker dies at a fault point": (1, lambda it, chance: it._arm("control", chance)),
    "quarantine worker killed": (1, lambda it, _: it._kill("alone")),
    "broker emptied": (5, FaultInjector._empty_broker),
    "broker restarted": (2.5, lambda it, chance: it._restart_broker(chance, empty=False)),
    "broker restarted empty": (2.5, lambda it, chance: it._restart_broker(chance, empty=True)),
    "store restarted": (2, lambda it, chance: it._lose_store_for(chance.uniform(0.2, 3))),
}
FAULT_WEIGHTS = {name: weight for name, (weight, _) in FAULTS.items()}
