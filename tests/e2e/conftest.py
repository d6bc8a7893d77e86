"""What tests with real processes share."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.flower import Flower
from tests.servers import Fleet
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As by default, but with short leases: a lost worker is noticed within two seconds."""
    short = {"heartbeat_interval_s": 0.4, "lease_ttl_s": 1.2, "sweep_interval_s": 0.3}
    return settings.model_copy(update=short | {"republish_after_s": 1.0, "drain_grace_s": 1.0})


@pytest.fixture
def fleet(store: Store, settings: Settings) -> Iterator[Fleet]:
    """Workers and sweepers as processes; they end before the store is looked at for the last time."""
    with Fleet.of(settings) as started:
        yield started


@pytest.fixture
def flower(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Flower]]:
    """Starts Flower; kills it at the end of the test."""
    started: list[Flower] = []

    def begin(**options: object) -> Flower:
        started.append(Flower(settings, tmp_path, **options))
        return started[-1]

    yield begin
    for one in started:
        one.end(signal.SIGKILL)
