"""A short run with faults; `make chaos` runs as long as asked."""

import itertools

import pytest

from tests.chaos.__main__ import Chaos, report
from tests.chaos.fault_injector import FAULT_WEIGHTS, fault_schedule

#: Losses are noticed soon, although heartbeats on a busy machine may be late.
SHORT = {
    "heartbeat_interval_s": 0.8,
    "lease_ttl_s": 3,
    "sweep_interval_s": 0.5,
    "republish_after_s": 3,
    "stop_grace_s": 5,
    "drain_grace_s": 1,
    # On a very busy machine, a lease may expire without a fault.
    "max_attempts": 20,
}
SECONDS = 25


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_faults_lose_double_or_revive_nothing(kind: str) -> None:
    chaos = Chaos(kind, seed=7, workers=2, clients=3, max_active=40, pause_s=(0.5, 2.5), **SHORT)
    result = chaos.go(SECONDS / 60)
    text = report(chaos, result)
    assert not result.problems, text
    assert not chaos.injector.failures, text
    assert sum(chaos.injector.done.values()) > 0, text
    assert result.interactions > 0, text


def test_schedule_depends_on_the_seed_only() -> None:
    def first(seed: int) -> list[object]:
        schedule = itertools.islice(fault_schedule(seed, (0, 1), FAULT_WEIGHTS), 100)
        return [(plan.pause_s, plan.name, plan.chance.random()) for plan in schedule]

    assert first(7) == first(7)
    assert first(7) != first(8)
