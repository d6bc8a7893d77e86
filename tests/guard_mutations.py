"""Removes each guard in turn, in a copy, and shows which test catches it: `python -m tests.guard_mutations`.

A guard whose removal no test notices is a guard that somebody will remove one day. Exits 1 if there is one.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
#: The folders that the namespace package is made of.
PARTS = ("shared", "api", "worker", "deploy")


class Guard(NamedTuple):
    name: str
    file: str
    #: Exactly this text, once in the file…
    text: str
    #: …becomes this.
    without: str
    #: Where it should be noticed.
    tests: str


LIFECYCLE = "shared/understudy/store/lifecycle.py"
STORE_GUARDS = "shared/understudy/store/guards.py"
STOPS = "shared/understudy/store/stops.py"
DISPATCH = "shared/understudy/store/dispatch.py"
LIFECYCLE_TESTS = "tests/integration/test_store_lifecycle.py"
DISPATCH_TESTS = "tests/integration/test_store_dispatch.py"
PUBLISHER_TESTS = "tests/integration/test_publisher.py"
WORKER_TESTS = "tests/integration/test_worker.py"
ORDERS_TESTS = "tests/integration/test_operator_commands.py"
SWEEPER = "worker/understudy/worker/sweeper.py"
EVENT_TESTS = "tests/integration/test_store_events.py"
ISOLATION_TESTS = "tests/integration/test_store_isolation.py"

GUARDS = [
    Guard(
        "who closes a connection is not told again to end",
        "worker/understudy/worker/run.py",
        "if not self._cancel_requested:",
        "if True:",
        WORKER_TESTS,
    ),
    Guard(
        "who is about to run here is not given back",
        "worker/understudy/worker/heartbeat.py",
        " if claim.participant_id not in claiming",
        "",
        WORKER_TESTS,
    ),
    Guard(
        "epoch of a run's writes (P3)",
        STORE_GUARDS,
        "and_(_p.c.id == claim.participant_id, _p.c.epoch == claim.epoch)",
        "_p.c.id == claim.participant_id",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "status of every move (P1)",
        STORE_GUARDS,
        ".where(_p.c.status.in_([str(status) for status in sorted(sources)]))",
        "",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "status of a commit (P2)",
        LIFECYCLE,
        "            _p.c.status == str(Status.RUNNING),\n            _p.c.interaction_count ==",
        "            _p.c.interaction_count ==",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "epoch of a commit (P3)",
        LIFECYCLE,
        "            _p.c.epoch == rows.c.epoch,\n            _p.c.status ==",
        "            _p.c.status ==",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "epoch of a run's last commit (P3)",
        LIFECYCLE,
        "            _p.c.epoch == rows.c.epoch,\n            _p.c.interaction_count ==",
        "            _p.c.interaction_count ==",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "index of a commit (P3)",
        LIFECYCLE,
        "RUNNING),\n            _p.c.interaction_count == rows.c.interaction_count,\n",
        "RUNNING),\n",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "index of a run's last commit (P3)",
        LIFECYCLE,
        "epoch,\n            _p.c.interaction_count == rows.c.interaction_count,\n",
        "epoch,\n",
        LIFECYCLE_TESTS,
    ),
    Guard("lease of a claim (P7)", LIFECYCLE, ', lease_is_live(bindparam("worker")))', ")", LIFECYCLE_TESTS),
    Guard(
        "lease of a recovery (P7)",
        "shared/understudy/store/recovery.py",
        "    dead = ~lease_is_live(_p.c.worker_id)\n",
        "    dead = _p.c.id.is_not(None)\n",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "lease that ran out (P7)",
        "shared/understudy/store/leases.py",
        "        .where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock())\n"
        "        .values(expires_at=store_clock(ttl_s))",
        "        .where(_lease.c.id == worker_id)\n        .values(expires_at=store_clock(ttl_s))",
        LIFECYCLE_TESTS,
    ),
    Guard("stop recorded once (P1)", STOPS, "_p.c.stopped_at.is_(None), which)", "which)", LIFECYCLE_TESTS),
    Guard(
        "stop of cancelled ones only (P1)",
        STOPS,
        ".where(_p.c.status == str(Status.CANCELLED), _p.c.stopped_at.is_(None), which)",
        ".where(_p.c.stopped_at.is_(None), which)",
        LIFECYCLE_TESTS,
    ),
    Guard(
        "stop of what a living worker holds (P1)",
        STOPS,
        "    known = ~lease_is_live(_p.c.worker_id) if claim is None else epoch_fence(claim)\n",
        "    known = _p.c.id.is_not(None) if claim is None else epoch_fence(claim)\n",
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
        "    to_publish = and_(_p.c.status == str(Status.PENDING), unpublished)\n",
        "    to_publish = _p.c.status == str(Status.PENDING)\n",
        DISPATCH_TESTS,
    ),
    Guard(
        "a message is owned of pending ones",
        DISPATCH,
        "    to_publish = and_(_p.c.status == str(Status.PENDING), unpublished)\n",
        "    to_publish = unpublished\n",
        DISPATCH_TESTS,
    ),
    Guard(
        "a start is done once per key",
        "api/understudy/service/starts.py",
        "    if stored is not None:\n        return stored\n",
        "",
        "tests/contract/test_idempotency.py",
    ),
    Guard(
        "an ask has so many rounds and no more",
        "shared/understudy/store/asks.py",
        ".where(_ask.c.id == ask_id, _ask.c.round_count < MAX_ROUNDS)",
        ".where(_ask.c.id == ask_id)",
        "tests/integration/test_races.py",
    ),
    Guard(
        "one gives positions at a time",
        "shared/understudy/store/events.py",
        "    if not _lock_sequencer(connection, wait=wait_for_lock):\n        return 0\n",
        "",
        EVENT_TESTS,
    ),
    Guard(
        "positions are given in order of seq",
        "shared/understudy/store/events.py",
        ".where(_event.c.position.is_(None)).order_by(*by_seq).limit(limit)",
        ".where(_event.c.position.is_(None)).order_by(_event.c.seq.desc()).limit(limit)",
        EVENT_TESTS,
    ),
    Guard(
        "a participant's events come in order, however the one before was written",
        "shared/understudy/store/events.py",
        "        flush_outbox(connection, ids)\n",
        "        pass\n",
        EVENT_TESTS,
    ),
    Guard(
        "a participant's events come in order, also when it is claimed right away",
        LIFECYCLE,
        "    flush_outbox(connection, [row.id for row in rows])\n",
        "",
        EVENT_TESTS,
    ),
    Guard(
        "only events that were copied are taken out of the outbox",
        "shared/understudy/store/events.py",
        "connection.execute(statements.remove, locked)",
        "connection.execute(delete(_outbox).where(_outbox.c.participant_id.in_(ids)))",
        EVENT_TESTS,
    ),
    Guard(
        "an event is moved once",
        "shared/understudy/store/events.py",
        ".order_by(*key).with_for_update()",
        ".order_by(*key)",
        EVENT_TESTS,
    ),
    Guard(
        "a message is lost only when overtaken by some time",
        SWEEPER,
        "followed_at - REORDER_MARGIN",
        "followed_at",
        PUBLISHER_TESTS,
    ),
    Guard(
        "a message is lost only when its queue is empty",
        SWEEPER,
        "if self._publisher.queue_depth(queue) == 0:",
        "if True:",
        PUBLISHER_TESTS,
    ),
    Guard(
        "rows are locked in id order, whatever is done with them",
        "worker/understudy/worker/committer.py",
        "        guards.lock_in_id_order(connection, [write.participant_id for write in writes])\n",
        "        pass\n",
        WORKER_TESTS,
    ),
    Guard(
        "rows are locked in id order",
        "worker/understudy/worker/committer.py",
        "sorted(writes, key=lambda write: write.participant_id)",
        "writes",
        WORKER_TESTS,
    ),
    Guard(
        "a process without a lease hands messages back (P6)",
        "worker/understudy/worker/run.py",
        "RunResult.DROPPED if leases.is_live(connection, worker_id) else RunResult.REFUSED",
        "RunResult.DROPPED",
        WORKER_TESTS,
    ),
    Guard(
        "a lapsed lease aborts the steps (P7)",
        "worker/understudy/worker/watchdog.py",
        "        if lapsed and not self._lapsed:\n",
        "        if False:\n",
        WORKER_TESTS,
    ),
    Guard(
        "a loop that is stuck ends its process (P7)",
        "worker/understudy/worker/watchdog.py",
        "        if stalled_s > self._loop_stall_s:\n",
        "        if False:\n",
        "tests/e2e/test_watchdog.py",
    ),
    Guard(
        "what an operator revokes is cut where it runs",
        "worker/understudy/worker/operator_commands.py",
        "        self._abort(ids)\n",
        "",
        ORDERS_TESTS,
    ),
    Guard(
        "a stop task's revoke cancels nobody",
        "shared/understudy/queue/celery/control_commands.py",
        "        if not cancelled_already:\n",
        "        if True:\n",
        ORDERS_TESTS,
    ),
    Guard(
        "a cancel is of one workspace (P8)",
        LIFECYCLE,
        '() if any_workspace else (_p.c.workspace_id == bindparam("workspace"),)',
        '() if any_workspace else (_p.c.id != bindparam("workspace"),)',
        " ".join((ISOLATION_TESTS, LIFECYCLE_TESTS)),
    ),
    Guard(
        "who hangs when told to go is ended",
        "worker/understudy/worker/shutdown.py",
        "            os._exit(EXIT_SHUTDOWN_TIMEOUT)\n",
        "",
        "tests/unit/test_shutdown_signal.py",
    ),
]

#: Every comparison with the caller's workspace in the store is a guard of its own (P8).
WORKSPACE_FILTER = re.compile(r"(\w+(?:\.c)?\.)?c\.workspace_id == workspace_id")
WORKSPACE_TESTS = " ".join((ISOLATION_TESTS, LIFECYCLE_TESTS, DISPATCH_TESTS))


def workspace_guards() -> list[Guard]:
    """One guard for each workspace filter, told apart by the text around it."""
    guards = []
    for path in sorted((ROOT / "shared/understudy/store").glob("*.py")):
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


def failing_test(guard: Guard) -> str:
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
            env=os.environ | {"PYTHONPATH": os.pathsep.join(str(copy / part) for part in PARTS)},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    assert failed or ran.returncode == 0, ran.stdout + ran.stderr
    return failed[1] if failed else ""


def main() -> int:
    guards = [*GUARDS, *workspace_guards()]
    unnoticed = 0
    with ThreadPoolExecutor(max((os.cpu_count() or 1) // 2, 1)) as several:
        for guard, test in zip(guards, several.map(failing_test, guards), strict=True):
            unnoticed += not test
            print(f"{guard.name:55} {test or 'NOBODY NOTICED'}", flush=True)  # noqa: T201
    print(f"{len(guards)} guards, {unnoticed} of them unnoticed")  # noqa: T201
    return min(unnoticed, 1)


if __name__ == "__main__":
    sys.exit(main())
