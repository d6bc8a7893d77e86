"""A run whose steps take much of their process waits between them."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from understudy.worker import run as run_module
from understudy.worker.run import FREE_LOOP_S, MAX_PAUSE_S, STORED_PER_S, Run


@pytest.mark.parametrize(
    ("used_s", "stored_size", "runs", "pause_s"),
    [
        (FREE_LOOP_S, 0, 100, None),
        (0.002, 10_000, 100, None),
        (FREE_LOOP_S + 0.001, 0, 50, 0.1),
        (FREE_LOOP_S, STORED_PER_S // 1_000, 50, 0.1),
        (FREE_LOOP_S + 1, 0, 50, MAX_PAUSE_S),
    ],
)
def test_run_that_used_much_pauses_in_proportion(
    monkeypatch: pytest.MonkeyPatch, used_s: float, stored_size: int, runs: int, pause_s: float | None
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def step() -> str:
        return "a step"

    async def scene() -> None:
        run = Run(uuid4(), cast("Any", SimpleNamespace(count_runs=lambda: runs)))
        run.used_s = used_s
        assert await run._next_step(cast("Any", SimpleNamespace(step=step, stored_size=stored_size))) == "a step"
        assert run.used_s == 0

    monkeypatch.setattr(run_module.asyncio, "sleep", sleep)
    asyncio.run(scene())
    assert slept == ([] if pause_s is None else [pytest.approx(pause_s)])
