"""The table of attacks in docs/security.md and the attacks that exist are the same."""

import re

import pytest

from tests.attack.attack import Answer, Result
from tests.attack.table import ATTACKS
from tests.servers import ROOT

HEADING = "## Tried attacks and what holds"
NAMES = [attack.name for attack in ATTACKS]


def proofs(page: str) -> list[str]:
    """Returns what the last cell of each row of the table names."""
    section = page.partition(HEADING)[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert rows
    named = [re.findall(r"`([^`]+)`", row.rstrip(" |").rpartition(" | ")[2]) for row in rows]
    assert all(named), "a row names no proof"
    return [one for row in named for one in row]


@pytest.fixture(scope="module")
def named() -> list[str]:
    return proofs((ROOT / "docs" / "security.md").read_text())


def test_every_attack_is_in_the_table(named: list[str]) -> None:
    assert [name for name in NAMES if named.count(name) != 1] == []
    assert len(set(NAMES)) == len(NAMES)


def test_every_proof_in_the_table_exists(named: list[str]) -> None:
    files = {name for name in named if name.startswith("tests/")}
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert set(named) - files - set(NAMES) == {"make attack"}


def test_proofs_reports_a_row_without_one() -> None:
    with pytest.raises(AssertionError, match="no proof"):
        proofs(f"{HEADING}\n| attack | holds | proof |\n|---|---|---|\n| a | b | none |\n")


def test_result_with_one_answer_that_does_not_hold_shows_that_one() -> None:
    answers = [Answer("first\x1b", "200", holds=True), Answer("second\r\n", "500\x1b[2J", holds=False)]
    line = Result(ATTACKS[0], answers).line()
    assert line.endswith("DOES NOT HOLD")
    assert r"second\r\n" in line
    assert "\x1b" not in line
    assert Result(ATTACKS[0], answers[:1]).line().endswith(" holds")
