"""The villain: takes things away from a town, at random times, by a seed."""

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

#: Which points each kind of process is made to die at.
FAULTS = {
    "api": (
        "run.commit",
        "cancel.commit",
        "extend.commit",
        "run_message.reserve",
        "run_message.send",
        "abort.send",
    ),
    "run": ("claim.commit", "step.commit", "end.commit", "release.commit", "heartbeat.commit"),
    "sweeper": ("recover.commit", "run_message.reserve", "run_message.send"),
    "control": ("stop.commit",),
}

#: How often each mishap is chosen, beside the others.
FAULT_WEIGHTS: dict[str, float] = {
    "worker killed": 12,
    "two workers killed at once": 2,
    "worker killed while another's are taken up again": 3,
    "worker killed during cancel": 2,
    "worker killed during extend": 2,
    "worker dies at a fault point": 4,
    "worker frozen": 3,
    "worker cut from the store": 3,
    "worker told to go": 3,
    "all workers told to go": 1,
    "API killed": 3,
    "API killed during cancel": 3,
    "API killed during extend": 3,
    "API dies at a fault point": 3,
    "sweeper killed": 2,
    "sweeper killed during recovery": 2,
    "sweeper dies at a fault point": 2,
    "control worker killed": 1,
    "control worker dies at a fault point": 1,
    "alone worker killed": 1,
    "broker emptied": 5,
    "broker restarted": 2.5,
    "broker restarted empty": 2.5,
    "store restarted": 2,
}

#: Broker losses, as the report counts them.
BROKER_LOSSES = ("broker emptied", "broker restarted", "broker restarted empty")


class Plan(NamedTuple):
    """What comes next: after a pause, which mishap, and whatever is random in it."""

    pause_s: float
    name: str
    chance: random.Random


def fault_schedule(seed: int, pause_s: tuple[float, float], weights: Mapping[str, float]) -> Iterator[Plan]:
    """The schedule of a seed: the same whatever happens."""
    chance = random.Random(f"villain {seed}")
    number = 0
    while True:
        number += 1
        name = chance.choices(list(weights), list(weights.values()))[0]
        yield Plan(chance.uniform(*pause_s), name, random.Random(f"{seed} {number} {name}"))


class FaultInjector(threading.Thread):
    """Does mischief until told to stop; `done` counts it by mishap, `killed` by kind of process."""

    def __init__(
        self,
        town: Cluster,
        seed: int,
        announcements: RequestSignals,
        *,
        store_away: Callable[[float, Callable[[], None]], None],
        pause_s: tuple[float, float],
    ) -> None:
        """`store_away` makes the store go away for about so many seconds, and calls when it is."""
        super().__init__(name="villain", daemon=True)
        self._town = town
        self._announcements = announcements
        self._store_away = store_away
        #: Mishaps that take long go on beside the next ones.
        self._hands = ThreadPoolExecutor(12, "mishap")
        self._broker = threading.Lock()
        self._store = threading.Lock()
        self.done: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        #: When each mishap began, and which one, by the wall clock.
        self.begun: list[tuple[float, str]] = []
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self._mishaps: dict[str, Callable[[random.Random], bool | None]] = {
            "worker killed": self._kill_worker,
            "two workers killed at once": self._kill_two,
            "worker killed while another's are taken up again": self._kill_during_recovery,
            "worker killed during cancel": lambda chance: self._kill_during("cancel", "run", chance),
            "worker killed during extend": lambda chance: self._kill_during("extend", "run", chance),
            "worker dies at a fault point": lambda chance: self._arm("run", chance),
            "worker frozen": self._freeze,
            "worker cut from the store": self._cut,
            "worker told to go": lambda chance: town.drain(self._one_of(town.workers, chance)),
            "all workers told to go": self._drain_all,
            "API killed": lambda _: self._kill("api"),
            "API killed during cancel": lambda chance: self._kill_during("cancel", "api", chance),
            "API killed during extend": lambda chance: self._kill_during("extend", "api", chance),
            "API dies at a fault point": lambda chance: self._arm("api", chance),
            "sweeper killed": lambda chance: self._kill(chance.choice(town.sweepers)),
            "sweeper killed during recovery": self._kill_sweepers_during_recovery,
            "sweeper dies at a fault point": lambda chance: self._arm("sweeper", chance),
            "control worker killed": lambda _: self._kill("control"),
            "control worker dies at a fault point": lambda chance: self._arm("control", chance),
            "alone worker killed": lambda _: self._kill("alone"),
            "broker emptied": self._empty_broker,
            "broker restarted": lambda chance: self._lose_broker(chance, empty=False),
            "broker restarted empty": lambda chance: self._lose_broker(chance, empty=True),
            "store restarted": self._lose_store,
        }
        weights = FAULT_WEIGHTS
        if not town.lines:
            # Without lines, whoever cuts one worker from the store cuts all.
            weights = FAULT_WEIGHTS | {"worker cut from the store": 0.5}
        self._plans = fault_schedule(seed, pause_s, weights)

    def run(self) -> None:
        for plan in self._plans:
            if self.stopping.wait(plan.pause_s):
                break
            self._hands.submit(self._do, plan)
        # What is begun is brought to its end: the frozen thaw, the broker comes back.
        self._hands.shutdown(wait=True)

    def _do(self, plan: Plan) -> None:
        self.begun.append((time.time(), plan.name))
        try:
            if self._mishaps[plan.name](plan.chance) is not False:
                self.done[plan.name] += 1
        except ServiceUnavailable:
            # The store is just away: nothing can be looked up, so nothing is done.
            return
        except Exception as error:  # noqa: BLE001 - told in the report
            self.failures.append(f"{plan.name}: {error!r}")

    def _one_of(self, names: list[str], chance: random.Random) -> str:
        """The first one that works, in an order that depends on the seed only."""
        order = chance.sample(names, len(names))
        return next((name for name in order if self._town.works(name)), order[0])

    def _kill(self, name: str) -> bool:
        if name in {"api", *self._town.workers} and not self._town.ready(name):
            # Whoever is killed again and again while it starts loses nothing, and never gets to work.
            return False
        killed = self._town.kill(name)
        if killed:
            self.killed[name.partition("-")[0]] += 1
        return killed

    def _kill_worker(self, chance: random.Random) -> bool:
        return self._kill(self._one_of(self._town.workers, chance))

    def _kill_two(self, chance: random.Random) -> bool:
        first = self._one_of(self._town.workers, chance)
        second = self._one_of([name for name in self._town.workers if name != first], chance)
        # Both, whether or not the first one ran.
        return any([self._kill(first), self._kill(second)])

    def _kill_during_recovery(self, chance: random.Random) -> bool:
        """One dies, and another within the time in which the first one's participants are taken up again."""
        settings = self._town.settings
        after_s = chance.uniform(0, settings.lease_ttl_s + settings.sweep_interval_s)
        killed = self._kill_worker(chance)
        self.stopping.wait(after_s)
        return self._kill_worker(chance) or killed

    def _kill_during(self, what: str, kind: str, chance: random.Random) -> bool:
        """Right behind a request for it."""
        name = self._one_of(self._town.workers, chance) if kind == "run" else kind
        delay_s = chance.uniform(0, 0.05)
        if not self._announcements.next(what, timeout_s=5):
            return False
        time.sleep(delay_s)
        return self._kill(name)

    def _arm(self, kind: str, chance: random.Random) -> bool:
        """The next start of one of them dies at a fault point; so this one is ended, to be started again."""
        names = [name for name in self._town.names if name.partition("-")[0] == kind]
        name = self._one_of(names, chance)
        point = f"{chance.choice(FAULTS[kind])}.{chance.choice(['before', 'after'])}"
        self._town.arm(name, f"{point}=kill@{chance.randint(1, 30)}")
        return self._kill(name)

    def _freeze(self, chance: random.Random) -> bool:
        name = self._one_of(self._town.workers, chance)
        for_s = self._longer_or_shorter_than_a_lease(chance)
        return self._for_a_while(self._town.freeze(name), for_s)

    def _cut(self, chance: random.Random) -> bool:
        name, hang = self._one_of(self._town.workers, chance), chance.random() < 0.5
        for_s = self._longer_or_shorter_than_a_lease(chance)
        if not self._town.lines:
            self._take_store_away(for_s)
            return True
        return self._for_a_while(self._town.cut(name, hang=hang), for_s)

    def _longer_or_shorter_than_a_lease(self, chance: random.Random) -> float:
        return chance.uniform(0.5, 2) * self._town.settings.lease_ttl_s

    def _for_a_while(self, undo: Callable[[], None] | None, for_s: float) -> bool:
        if undo is None:
            return False
        self.stopping.wait(for_s)
        undo()
        return True

    def _drain_all(self, chance: random.Random) -> bool:
        """One after the other, as a rolling restart does."""
        told = False
        for name in chance.sample(self._town.workers, len(self._town.workers)):
            told |= self._town.drain(name)
            deadline = time.monotonic() + 20
            while not self._town.works(name) and time.monotonic() < deadline:
                if self.stopping.wait(0.1):
                    return told
        return told

    def _kill_sweepers_during_recovery(self, chance: random.Random) -> bool:
        """All sweepers, as soon as the first of a dead worker's participants is pending again."""
        name, delay_s = self._one_of(self._town.workers, chance), chance.uniform(0, 0.05)
        if not self._kill(name):
            return False
        settings = self._town.settings
        self._town.wait_for_recovery(settings.lease_ttl_s + 2 * settings.sweep_interval_s)
        time.sleep(delay_s)
        return sum(map(self._kill, self._town.sweepers)) > 0

    def _empty_broker(self, _: random.Random) -> None:
        with self._broker:
            self._town.empty_broker()

    def _lose_broker(self, chance: random.Random, *, empty: bool) -> None:
        for_s = chance.uniform(0.2, 6)
        with self._broker, self._town.without_broker(empty=empty):
            self.stopping.wait(for_s)

    def _lose_store(self, chance: random.Random) -> None:
        self._take_store_away(chance.uniform(0.2, 3))

    def _take_store_away(self, for_s: float) -> None:
        with self._store, self._town.without("store"):
            self._store_away(for_s, self._town.lose_all)
