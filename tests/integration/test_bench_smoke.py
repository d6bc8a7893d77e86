"""Each row of the bench, once and tiny: it runs and yields figures. What they are is for `make bench`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import modules
from tests.bench.figures import Comparison, at_least, at_most, table
from tests.bench.plot import draw, medians
from tests.servers import ROOT


@pytest.mark.parametrize("row", sorted({module.NUMBER for module in modules([])}))
def test_a_row_can_be_measured(row: int, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ["--row", str(row), "--smoke", "--store", "sqlite", "--json", str(figures)]
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench", *options]
    # Rivals are left out, installed or not.
    environment = os.environ | {"UNDERSTUDY_BENCH_RIVALS": str(tmp_path)}
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    measured = json.loads(figures.read_text())
    assert {one["row"] for one in measured["rows"]} == {row}
    assert all(one["ours"] for one in measured["rows"])
    assert measured["durability"]["sqlite"] == {"journal_mode": "wal", "synchronous": "1"}


def test_a_goal_is_for_the_median_of_what_belongs_together() -> None:
    one = Comparison("x", "1/s", [10, 30, 40], "y", [10, 10, 10], at_least(3))
    assert (one.value, one.met) == (3, True)
    assert Comparison("x", "s", [1, 9, 2], goal=at_most(2)).met
    assert not Comparison("x", "s", [1, 9, 3], goal=at_most(2)).met
    # Nobody to compare with: neither met nor missed.
    assert Comparison("x", "1/s", [10], "y", [], at_least(3)).met is None
    assert "| 1 | sqlite | x | 30 1/s | 10 (y) | 3.00 (1.00..4.00) | ≥ 3 | yes |" in table([(1, "sqlite", one)])


def test_growth_is_drawn_by_the_median_of_each_size() -> None:
    points = [
        {"row": 1, "store": "sqlite", "line": "steps", "size": size, "seconds": size * factor / 1000}
        for size in (10, 100, 1_000)
        for factor in (1, 2, 9)
    ]
    lines = medians(points)
    assert lines == {"1: steps, sqlite": {10: 0.02, 100: 0.2, 1_000: 2.0}}
    assert draw(lines).count("<circle") == 3
