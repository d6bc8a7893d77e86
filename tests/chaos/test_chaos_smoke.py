"""A short slice of chaos, in every run of the tests; `make chaos` goes on for as long as asked."""

import itertools

import pytest

from tests.chaos.__main__ import Chaos, report
from tests.chaos.fault_injector import FAULT_WEIGHTS, fault_schedule

#: Losses are noticed soon, and a busy machine may be late for a heartbeat or two.
SHORT = {
    "heartbeat_interval_s": 0.8,
    "lease_ttl_s": 3,
    "sweep_interval_s": 0.5,
    "republish_after_s": 3,
    "stop_grace_s": 5,
    "drain_grace_s": 1,
    # A machine that is much too busy may take a worker's lease from it without any villain.
    "max_attempts": 20,
}
SECONDS = 25


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_whatever_dies_nothing_is_lost_doubled_or_revived(kind: str) -> None:
    chaos = Chaos(kind, seed=7, workers=2, clients=3, max_active=40, pause_s=(0.5, 2.5), **SHORT)
    verdict = chaos.go(SECONDS / 60)
    told = report(chaos, verdict)
    assert not verdict.problems, told
    assert not chaos.villain.failures, told
    assert sum(chaos.villain.done.values()) > 0, told
    assert verdict.interactions > 0, told


def test_the_schedule_depends_on_the_seed_only() -> None:
    def first(seed: int) -> list[object]:
        schedule = itertools.islice(fault_schedule(seed, (0, 1), FAULT_WEIGHTS), 100)
        return [(plan.pause_s, plan.name, plan.chance.random()) for plan in schedule]

    assert first(7) == first(7)
    assert first(7) != first(8)
