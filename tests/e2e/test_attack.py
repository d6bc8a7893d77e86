"""Hostile sites, chatbots and name servers hurt no participant of another site in the same worker."""

import os
import subprocess
import sys

from tests.servers import ROOT


def test_attack_fails_no_other_participant_and_takes_little_memory() -> None:
    attack = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.attack", "--quick", "--seconds", "3"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert attack.returncode == 0, attack.stdout + attack.stderr
    assert "all at once" in attack.stdout
