"""Row 8: thousands of calls that wait on one API process, each for a participant of its own."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import httpx

from tests.bench.figures import Comparison, at_most
from tests.bench.installation import Bench, Installation
from tests.servers import ROOT, free_port, wait_until
from understudy.queue.names import NOTIFICATION_CHANNEL
from understudy.queue.notifications import Notifier
from understudy.store import lifecycle

NUMBER = 8
NAME = "calls that wait, from the terminal commit in another process to the answer"
BARE = "a bare FastAPI long poll"
TIMEOUT_S = 600


class Took(NamedTuple):
    #: Of those that ended one by one.
    p99_ms: float
    #: Until the last answer, when all others ended at once.
    all_s: float


def measure(bench: Bench) -> Iterator[Comparison]:
    count, single = bench.size(5_000, 12), bench.size(200, 4)
    mine: list[Took] = []
    bare: list[Took] = []
    for _ in range(bench.pairs):
        mine.append(ours(bench, count, single))
        bare.append(theirs(bench, count, single))
    yield Comparison(
        f"{count:,} {NAME}, p99 of {single} that end one by one",
        "ms",
        [took.p99_ms for took in mine],
        BARE,
        [took.p99_ms for took in bare],
        at_most(2),
    )
    yield Comparison(
        f"the same, until the last answer, {count - single:,} ending at once",
        "s",
        [took.all_s for took in mine],
        BARE,
        [took.all_s for took in bare],
        at_most(1.5),
    )


def ours(bench: Bench, count: int, single: int) -> Took:
    with bench.stage() as stage:
        return on_stage(stage, stage.api(), count, single)


def on_stage(stage: Installation, url: str, count: int, single: int) -> Took:
    """`ours`, on a stage that is there, by the API process at `url`."""
    ids = stage.participants(count)
    body = '{"participant_ids": ["%s"], "timeout": %d}'
    waits = [(str(id_), "/v1/simulations/wait", body % (id_, TIMEOUT_S)) for id_ in ids]

    def waiting(answers: Path) -> int:
        assert not _answered(answers), "some were answered before anybody ended"
        told = httpx.get(f"{url}/metrics", trust_env=False, timeout=60).text
        return int(float(re.findall(r"^understudy_waiters (\S+)", told, re.MULTILINE)[0]))

    with _pollers(url, "POST", stage.token, waits) as answers:
        wait_until(lambda: waiting(answers) == count, 120, "all wait")
        return _end(stage, ids, single, answers)


def theirs(bench: Bench, count: int, single: int) -> Took:
    with bench.stage() as stage:
        port = free_port()
        how = {
            "broker_url": bench.broker_url,
            "database_url": stage.store.engine.url.render_as_string(hide_password=False),
            "channel": NOTIFICATION_CHANNEL,
            "port": port,
        }
        ids = stage.participants(count)
        program = Path(__file__).parent.parent / "baselines" / "fastapi_poll.py"
        server = subprocess.Popen([sys.executable, "-W", "ignore", str(program), json.dumps(how)])
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _answers(port), what="the bare server answers")
            with _pollers(url, "GET", "none", [(str(id_), f"/wait/{id_}", "") for id_ in ids]) as answers:
                ask = f"{url}/waiting"
                wait_until(lambda: httpx.get(ask, trust_env=False, timeout=60).json() == count, 120, "all wait")
                return _end(stage, ids, single, answers)
        finally:
            server.terminate()
            server.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _end(stage: Installation, ids: Sequence[UUID], single: int, answers: Path) -> Took:
    """End some one by one, then all others at once; the notices are sent as workers do."""
    notifier = Notifier(stage.settings.broker_url)

    def end(some: Sequence[UUID]) -> float:
        stage.store.write(lambda connection: lifecycle.cancel(connection, stage.workspace_id, some))
        at = time.monotonic()
        notifier.enqueue(some)
        return at

    ended = {}
    for id_ in ids[:single]:
        ended[str(id_)] = end([id_])
        time.sleep(0.02)
    wait_until(lambda: len(_answered(answers)) == single, 60, "those have their answers")
    took_ms = sorted((at - ended[id_]) * 1000 for id_, at in _answered(answers).items())
    at = end(ids[single:])
    wait_until(lambda: len(_answered(answers)) == len(ids), 120, "all have their answers")
    notifier.close()
    return Took(took_ms[int(len(took_ms) * 0.99)], max(_answered(answers).values()) - at)


def _answered(answers: Path) -> dict[str, float]:
    lines = [line.split() for line in answers.read_text().splitlines(keepends=True) if line.endswith("\n")]
    refused = [line for line in lines if len(line) == 3 and line[2] != "200"]
    assert not refused, f"{len(refused)} were refused, the first: {refused[0]}"
    return {line[0]: float(line[1]) for line in lines if len(line) == 3}


@contextlib.contextmanager
def _pollers(url: str, method: str, token: str, waits: Sequence[tuple[str, str, str]]) -> Iterator[Path]:
    """All of them ask, in a process of their own; the file in which answers are noted."""
    port = int(url.rpartition(":")[2])
    asked = {"port": port, "token": token, "method": method, "waits": waits}
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers"
        with answers.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.waiting_clients"],
                stdin=subprocess.PIPE,
                stdout=out,
                text=True,
                cwd=ROOT,
            )
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(asked))
            process.stdin.close()
            wait_until(lambda: "asked" in answers.read_text() or process.poll() is not None, 120, "all have asked")
            assert process.poll() is None, "the callers broke"
            yield answers
        finally:
            process.terminate()
            process.wait()
