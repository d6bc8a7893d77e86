"""The API held against its own description, by requests that nobody here thought of."""

import subprocess
import sys

import pytest

from tests.servers import ROOT


@pytest.mark.timeout(600)
def test_schemathesis_finds_no_answer_outside_of_the_schema() -> None:
    """A short run, the same each time; `make schemathesis` is the long one."""
    options = ["--max-examples", "5", "--generation-deterministic", "--seed", "1"]
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-10_000:] + run.stderr[-3_000:]
    assert "0 tested" not in run.stdout
