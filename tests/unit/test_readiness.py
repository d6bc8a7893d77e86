"""/readyz: concurrent requests share one bounded look at store and broker."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from understudy.domain.errors import ServiceUnavailable
from understudy.domain.queues import WorkerKind
from understudy.service import health
from understudy.service.health import Readiness
from understudy.store import free_space

pytestmark = pytest.mark.anyio

LIVE = {WorkerKind.RUN: 7, WorkerKind.QUARANTINE: 0, WorkerKind.CONTROL: 0}


class HangingParts:
    """Store and broker at once; they answer when `release` is set."""

    def __init__(self) -> None:
        self.url = make_url("postgresql://host/understudy")
        self.reads = 0
        self.release = threading.Event()

    @contextmanager
    def read(self) -> Iterator["HangingParts"]:
        self.reads += 1
        self.release.wait(60)
        yield self

    def execute(self, _: Any) -> list[tuple[str, int]]:
        return [("run", 7)]

    def ping(self) -> None:
        """The broker answers."""


@pytest.fixture
def parts() -> HangingParts:
    return HangingParts()


@pytest.fixture
async def readiness(parts: HangingParts) -> AsyncIterator[Readiness]:
    readiness = Readiness(parts, parts)  # type: ignore[arg-type]
    yield readiness
    parts.release.set()
    await readiness.close()


async def test_concurrent_requests_share_one_read(readiness: Readiness, parts: HangingParts) -> None:
    requests = [asyncio.create_task(readiness.check()) for _ in range(50)]
    await asyncio.sleep(0.02)
    parts.release.set()
    assert await asyncio.gather(*requests) == [(LIVE, "")] * 50
    assert parts.reads == 1
    assert await readiness.check() == (LIVE, "")
    assert parts.reads == 2


async def test_a_hanging_read_is_unavailable_after_its_timeout_and_no_second_one_starts(
    readiness: Readiness, parts: HangingParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.05)
    rounds = [await asyncio.gather(*(readiness.check() for _ in range(3)), return_exceptions=True) for _ in range(3)]
    assert [type(answer) for answers in rounds for answer in answers] == [ServiceUnavailable] * 9
    assert parts.reads <= 1
    parts.release.set()
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 60)
    assert await readiness.check() == (LIVE, "")


async def test_a_cancelled_request_leaves_the_read_to_the_others(readiness: Readiness, parts: HangingParts) -> None:
    leaving, staying = (asyncio.create_task(readiness.check()) for _ in range(2))
    await asyncio.sleep(0.02)
    leaving.cancel()
    parts.release.set()
    assert await staying == (LIVE, "")


async def test_a_lost_broker_is_a_problem_and_no_failure(parts: HangingParts) -> None:
    def ping() -> None:
        raise ConnectionError("away")

    parts.ping = ping  # type: ignore[method-assign]
    parts.release.set()
    readiness = Readiness(parts, parts)  # type: ignore[arg-type]
    workers, problem = await readiness.check()
    await readiness.close()
    assert (workers, "broker is unavailable" in problem) == (LIVE, True)


async def test_full_disk_of_the_store_is_not_ready(
    readiness: Readiness, parts: HangingParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.release.set()
    parts.url = make_url(f"sqlite:///{tmp_path / 'new' / 'store.db'}")
    assert await readiness.check() == (LIVE, "")
    monkeypatch.setattr(free_space, "MIN_FREE_BYTES", 1 << 62)
    with pytest.raises(ServiceUnavailable, match="Not ready: disk full"):
        await readiness.check()
