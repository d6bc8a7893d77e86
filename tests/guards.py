"""Removes each guard in turn, in a copy, and shows which test catches it: `python -m tests.guards`.

A guard whose removal no test notices is a guard that somebody will remove one day. Exits 1 if there is one.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Guard(NamedTuple):
    name: str
    file: str
    #: Exactly this text, once in the file…
    text: str
    #: …becomes this.
    without: str
    #: Where it should be noticed.
    tests: str


LIFECYCLE = "shared/store/lifecycle.py"
DISPATCH = "shared/store/dispatch.py"
LIFECYCLE_TESTS = "tests/integration/test_store_lifecycle.py"
DISPATCH_TESTS = "tests/integration/test_store_dispatch.py"
ISOLATION_TESTS = "tests/integration/test_store_isolation.py"

GUARDS = [
    Guard(
        "epoch of a run's writes (P3)",
        LIFECYCLE,
        "and_(_p.c.id == claim.participant_id, _p.c.epoch == claim.epoch)",
        "_p.c.id == claim.participant_id",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "status of every move (P1)",
        LIFECYCLE,
        ".where(_p.c.status.in_([str(status) for status in sorted(sources)]))",
        "",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "status of a commit (P2)",
        LIFECYCLE,
        ".where(_held_by(claim), _p.c.status == str(Status.RUNNING))",
        ".where(_held_by(claim))",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "index of a commit (P3)",
        LIFECYCLE,
        ".where(_p.c.interaction_count == step.index)",
        "",
        LIFECYCLE_TESTS,
    ),
    Guard("lease of a claim (P7)", LIFECYCLE, ", _lives(worker_id))", ")", LIFECYCLE_TESTS),
    Guard(
        "lease of a recovery (P7)",
        LIFECYCLE,
        "    dead = ~_lives(_p.c.worker_id)\n",
        "    dead = _p.c.id.is_not(None)\n",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "lease that ran out (P7)",
        "shared/store/leases.py",
        "        .where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock())\n"
        "        .values(expires_at=store_clock(ttl_s))",
        "        .where(_lease.c.id == worker_id)\n        .values(expires_at=store_clock(ttl_s))",
        LIFECYCLE_TESTS,
    ),
    Guard("stop recorded once (P1)", LIFECYCLE, "_p.c.stopped_at.is_(None), ", "", LIFECYCLE_TESTS),
    Guard(
        "stop of cancelled ones only (P1)",
        LIFECYCLE,
        "_p.c.status == str(Status.CANCELLED), ",
        "",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "terminal source of an extend (P4)",
        DISPATCH,
        "        _p.c.status.in_([str(status) for status in sorted(TERMINAL)]),\n",
        "",
        DISPATCH_TESTS,
    ),
    Guard(
        "a message is owned once",
        DISPATCH,
        "    owed = and_(_p.c.status == str(Status.PENDING), unsent)\n",
        "    owed = _p.c.status == str(Status.PENDING)\n",
        DISPATCH_TESTS,
    ),
    Guard(
        "a message is owned of pending ones",
        DISPATCH,
        "    owed = and_(_p.c.status == str(Status.PENDING), unsent)\n",
        "    owed = unsent\n",
        DISPATCH_TESTS,
    ),
]

#: Every comparison with the caller's workspace in the store is a guard of its own (P8).
WORKSPACE_FILTER = re.compile(r"(\w+(?:\.c)?\.)?c\.workspace_id == workspace_id")
WORKSPACE_TESTS = " ".join((ISOLATION_TESTS, LIFECYCLE_TESTS, DISPATCH_TESTS))


def workspace_guards() -> list[Guard]:
    """One guard for each workspace filter, told apart by the text around it."""
    guards = []
    for path in sorted((ROOT / "shared/store").glob("*.py")):
        text = path.read_text()
        for found in WORKSPACE_FILTER.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            start, end = text.rfind("\ndef ", 0, found.start()), found.end()
            around = text[max(start, 0) : end]
            column = found.group(0).split(" ==")[0]
            guards.append(
                Guard(
                    f"workspace filter (P8), {path.name}:{line}",
                    str(path.relative_to(ROOT)),
                    around,
                    around.removesuffix(found.group(0)) + f"{column} == {column}",
                    WORKSPACE_TESTS,
                )
            )
    return guards


def caught_by(guard: Guard) -> str:
    """The first test that fails without `guard`; empty if none does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "*.egg-info", "build"))
        file = copy / guard.file
        text = file.read_text()
        assert text.count(guard.text) == 1, f"{guard.name}: its text is not in {guard.file} exactly once"
        file.write_text(text.replace(guard.text, guard.without))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider"]
        ran = subprocess.run(
            [*command, *guard.tests.split()],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    assert failed or ran.returncode == 0, ran.stdout + ran.stderr
    return failed[1] if failed else ""


def main() -> int:
    unnoticed = 0
    for guard in [*GUARDS, *workspace_guards()]:
        test = caught_by(guard)
        unnoticed += not test
        print(f"{guard.name:55} {test or 'NOBODY NOTICED'}", flush=True)  # noqa: T201
    return min(unnoticed, 1)


if __name__ == "__main__":
    sys.exit(main())
