"""The villain: takes things away from a town, at random times, by a seed."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from shared.domain.errors import ServiceUnavailable
from tests.chaos.town import Town


class Loss(NamedTuple):
    """A participant lost its holder at a wall-clock moment."""

    participant_id: UUID
    epoch: int
    at: float


@dataclass
class Mishap:
    do: Callable[[], None]
    weight: float


class Villain(threading.Thread):
    """Does mischief until told to stop; `done` counts it, `losses` says who lost a worker by it, and when."""

    def __init__(self, town: Town, seed: int, *, restart_store: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._town = town
        self._chance = random.Random(f"villain {seed}")
        self._restart_store = restart_store
        self.done: Counter[str] = Counter()
        self.losses: list[Loss] = []
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self._mishaps = {
            "worker killed": Mishap(self._kill_worker, 10),
            "worker killed while another recovers": Mishap(self._kill_during_recovery, 3),
            "worker frozen": Mishap(self._freeze_worker, 2),
            "worker told to go": Mishap(self._drain_worker, 2),
            "API killed": Mishap(lambda: self._kill("api"), 3),
            "sweeper killed": Mishap(lambda: self._kill(self._chance.choice(["sweeper-1", "sweeper-2"])), 2),
            "control worker killed": Mishap(lambda: self._kill("control"), 1),
            "alone worker killed": Mishap(lambda: self._kill("alone"), 1),
            "broker emptied": Mishap(town.empty_broker, 3),
            "broker restarted": Mishap(lambda: self._lose_broker(empty=False), 1.5),
            "broker restarted empty": Mishap(lambda: self._lose_broker(empty=True), 1.5),
            "store restarted": Mishap(self._restart_store, 1),
        }

    def run(self) -> None:
        while not self.stopping.wait(self._chance.uniform(0.5, 3)):
            names = list(self._mishaps)
            weights = [self._mishaps[name].weight for name in names]
            name = self._chance.choices(names, weights)[0]
            try:
                self._mishaps[name].do()
                self.done[name] += 1
            except ServiceUnavailable:
                # The store is just restarting: nothing can be looked up, so nothing is done.
                continue
            except Exception as error:  # noqa: BLE001 - told in the report
                self.failures.append(f"{name}: {error!r}")

    def _kill_worker(self) -> None:
        self._lose(self._chance.choice(self._town.workers), signal.SIGKILL)

    def _kill_during_recovery(self) -> None:
        """One dies, and another within the time in which the first one's participants are taken up again."""
        first, second = self._chance.sample(self._town.workers, 2)
        self._lose(first, signal.SIGKILL)
        settings = self._town.settings
        self.stopping.wait(self._chance.uniform(0, settings.lease_ttl_s + settings.sweep_interval_s))
        self._lose(second, signal.SIGKILL)

    def _freeze_worker(self) -> None:
        name = self._chance.choice(self._town.workers)
        self._lose(name, signal.SIGSTOP)
        thaw_after_s = self._chance.uniform(0.5, 2) * self._town.settings.lease_ttl_s
        pid = self._town.pid(name)

        def thaw() -> None:
            if self._town.pid(name) == pid:
                self._town.signal(name, signal.SIGCONT)

        timer = threading.Timer(thaw_after_s, thaw)
        timer.daemon = True
        timer.start()

    def _drain_worker(self) -> None:
        self._town.signal(self._chance.choice(self._town.workers), signal.SIGTERM)

    def _kill(self, name: str) -> None:
        self._town.signal(name, signal.SIGKILL)

    def _lose(self, name: str, number: int) -> None:
        held = self._town.running_on(name) if self._town.alive(name) else []
        self._town.signal(name, number)
        at = time.time()
        self.losses += [Loss(row.id, row.epoch, at) for row in held]

    def _lose_broker(self, *, empty: bool) -> None:
        with self._town.without_broker(empty=empty):
            self.stopping.wait(self._chance.uniform(0.2, 6))
