"""/readyz: one look at a time, for all who ask, and never long."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from understudy.domain.errors import ServiceUnavailable
from understudy.service import health
from understudy.service.health import Readiness


class Parts:
    """Store and broker at once, which hang until they are released."""

    def __init__(self, *, hang: bool = True) -> None:
        self.looks = 0
        self.release = threading.Event()
        if not hang:
            self.release.set()

    @contextmanager
    def read(self) -> Iterator["Parts"]:
        self.looks += 1
        self.release.wait(60)
        yield self

    def scalar(self, _: Any) -> int:
        return 7

    def ping(self) -> None:
        """The broker answers."""


def ask(parts: Parts, scene: Any) -> None:
    async def play() -> None:
        readiness = Readiness(parts, parts)  # type: ignore[arg-type]
        try:
            await scene(readiness)
        finally:
            parts.release.set()
            await readiness.close()

    asyncio.run(play())


def test_who_asks_during_a_look_gets_its_answer() -> None:
    parts = Parts()

    async def scene(readiness: Readiness) -> None:
        asking = [asyncio.create_task(readiness.workers()) for _ in range(50)]
        await asyncio.sleep(0.02)
        parts.release.set()
        assert await asyncio.gather(*asking) == [7] * 50
        assert parts.looks == 1
        assert await readiness.workers() == 7
        assert parts.looks == 2

    ask(parts, scene)


def test_a_look_that_hangs_is_not_waited_for_long_and_no_other_is_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.05)
    parts = Parts()

    async def scene(readiness: Readiness) -> None:
        for _ in range(3):
            answers = await asyncio.gather(*(readiness.workers() for _ in range(3)), return_exceptions=True)
            assert [type(answer) for answer in answers] == [ServiceUnavailable] * 3
        assert parts.looks <= 1
        parts.release.set()
        monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 60)
        assert await readiness.workers() == 7

    ask(parts, scene)


def test_who_goes_away_takes_the_look_from_nobody() -> None:
    parts = Parts()

    async def scene(readiness: Readiness) -> None:
        leaving, staying = (asyncio.create_task(readiness.workers()) for _ in range(2))
        await asyncio.sleep(0.02)
        leaving.cancel()
        parts.release.set()
        assert await staying == 7

    ask(parts, scene)
