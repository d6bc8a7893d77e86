"""Attacks one worker by hostile sites, and measures what its other participants notice.

`python -m tests.attack` runs each attack for some seconds beside 20 participants of an ordinary site. It prints
their step times alone and under attack, how many of them failed or lost an attempt, and the memory of the largest
process. On Linux as root it runs in a network namespace with a name server of its own, of which some names never
get an answer; elsewhere this attack is left out. Exits 1 if a participant of the ordinary site failed, lost an
attempt, or a process grew above 700 MB.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from sqlalchemy import func, select

from tests.attack.sites import PAGES
from tests.http_client import ApiClient
from tests.name_server import NameServer
from tests.servers import Fleet, Process, wait_until
from understudy.deploy.broker import BrokerServer
from understudy.deploy.migrate import migrate
from understudy.settings import Settings
from understudy.store.engine import Store
from understudy.store.schema import Tables

MAX_MB = 700
PLUGINS = Path(__file__).parent.parent / "plugins"
BYSTANDERS = 20
ATTACKERS = 30
#: The script calls itself in the namespace with this variable.
_INSIDE = "UNDERSTUDY_TEST_NAMESPACE"

_participant, _interaction = Tables.participant, Tables.interaction


@dataclass
class Measured:
    """Measurements of the ordinary site's participants."""

    name: str
    steps: int
    p50_ms: float
    p99_ms: float
    #: Of them: failed, and with a lost attempt.
    hurt: int
    largest_mb: int
    #: Number of attackers by error kind, or else by status.
    attackers: dict[str, int]


class Arena:
    """One worker, its API and its sweeper, with two workspaces."""

    def __init__(self, settings: Settings, fleet: Fleet, site: str, *, has_names: bool) -> None:
        self.store = Store(settings.store_url)
        self._fleet = fleet
        self._site = site
        self.attacks = [*PAGES, "drip", "bot", *(["names"] if has_names else [])]
        self.processes: list[Process] = fleet.start("run-1", "control", "alone", "sweeper", "api-1", concurrency=100)
        api = self.processes[-1].url
        self._good = ApiClient(self.store, api, "bystanders", people=BYSTANDERS)
        self._bad = ApiClient(self.store, api, "attackers", people=ATTACKERS)

    def measure(self, name: str, attacks: Sequence[str], seconds: float) -> Measured:
        """Measures the steps of the ordinary site's participants beside `attacks`."""
        good = self._run(self._good, [{"environment": "web", "url": f"{self._site}/shop/1"}], BYSTANDERS)
        bad = [self._attack(attack) for attack in attacks]
        wait_until(lambda: self._steps(good, 2), 120)
        since, largest_mb = time.time(), 0
        while time.time() < since + seconds:
            time.sleep(0.2)
            largest_mb = max(largest_mb, *self._memory_mb())
        took = self._step_ms(good, datetime.fromtimestamp(since, UTC))
        hurt = self._hurt(good)
        attackers = self._outcomes(bad)
        for study in (good, *bad):
            caller = self._good if study == good else self._bad
            caller.post("/v1/simulations/cancel", {"study_id": str(study)})
        wait_until(lambda: not self._outcomes([good, *bad]).keys() & {"running", "pending"}, 60)
        return Measured(name, len(took), _part(took, 0.5), _part(took, 0.99), hurt, largest_mb, attackers)

    def _attack(self, name: str) -> UUID:
        if name == "names":
            # No server answers for any of these names.
            urls = [f"http://n{number}.dead.test/" for number in range(ATTACKERS)]
            return self._run(self._bad, [{"environment": "web", "url": url} for url in urls], ATTACKERS)
        if name == "bot":
            body = {"text": "{message}"}
            bot = {"url": f"{self._site}/bot", "protocol": "json", "request": body, "response_path": "reply"}
            return self._run(self._bad, [{"environment": "chat"} | bot], ATTACKERS)
        return self._run(self._bad, [{"environment": "web", "url": f"{self._site}/{name}"}], ATTACKERS)

    def _run(self, caller: ApiClient, contents: Sequence[dict[str, Any]], count: int) -> UUID:
        """Runs a study with so many participants, who share its iterations."""
        chat = contents[0]["environment"] == "chat"
        study = caller.post(
            "/v1/studies",
            {"name": "Walk", "modality": "chat" if chat else "interactive", "assignment": {"task": "Walk on"}},
        ).json()["id"]
        for content in contents:
            mind = {} if chat else {"mind": "scripted"}
            made = caller.post(f"/v1/studies/{study}/iterations", {"content": content} | mind)
            assert made.status_code == 201, made.text
            body = {"sample": count // len(contents), "max_interactions": 1_000}
            answer = caller.post(f"/v1/studies/{study}/run", body)
            assert answer.status_code == 202, answer.text
        return UUID(study)

    def _steps(self, study: UUID, at_least: int) -> bool:
        with self.store.read() as connection:
            least = connection.scalar(
                select(func.min(_participant.c.interaction_count)).where(_participant.c.study_id == study)
            )
        return (least or 0) >= at_least

    def _step_ms(self, study: UUID, since: datetime) -> list[float]:
        """The times from one interaction to the next, its commit included."""
        started = (
            select(_interaction.c.participant_id, _interaction.c.started_at)
            .join(_participant)
            .where(_participant.c.study_id == study)
            .order_by(_interaction.c.participant_id, _interaction.c.ordinal)
        )
        with self.store.read() as connection:
            rows = connection.execute(started).all()
        return sorted(
            (later.started_at - earlier.started_at).total_seconds() * 1_000
            for earlier, later in pairwise(rows)
            if earlier.participant_id == later.participant_id and earlier.started_at > since
        )

    def _hurt(self, study: UUID) -> int:
        hurt = (_participant.c.status == "failed") | (_participant.c.attempt > 0) | (_participant.c.epoch > 1)
        with self.store.read() as connection:
            return connection.scalar(select(func.count()).where(_participant.c.study_id == study, hurt)) or 0

    def _outcomes(self, studies: Sequence[UUID]) -> dict[str, int]:
        each = func.coalesce(_participant.c.error_kind, _participant.c.status)
        found = select(each, func.count()).where(_participant.c.study_id.in_(studies)).group_by(each)
        with self.store.read() as connection:
            return dict(connection.execute(found).all())

    def _memory_mb(self) -> Iterator[int]:
        for process in self.processes:
            try:
                family = [one := psutil.Process(process.popen.pid), *one.children(recursive=True)]
                yield from (member.memory_info().rss >> 20 for member in family)
            except psutil.NoSuchProcess:
                # It ended in between.
                continue


def _part(values: Sequence[float], part: float) -> float:
    return values[min(int(len(values) * part), len(values) - 1)] if values else float("nan")


@contextmanager
def arena(folder: Path, *, has_names: bool) -> Iterator[Arena]:
    """Starts all servers; ends them with the block."""
    with ExitStack() as stack:
        broker = stack.enter_context(BrokerServer(folder / "broker"))
        settings = Settings(data_dir=folder, broker_url=broker.url, allow_private_hosts=True)
        migrate(settings)
        if has_names:
            stack.enter_context(NameServer({}, port=53))
        site = subprocess.Popen([sys.executable, "-m", "tests.attack.sites"], stdout=subprocess.PIPE, text=True)
        stack.callback(site.wait)
        stack.callback(site.kill)
        assert site.stdout
        port = int(site.stdout.readline())
        fleet = stack.enter_context(Fleet.of(settings))
        yield Arena(settings, fleet, f"http://127.0.0.1:{port}", has_names=has_names)


def enter_namespace() -> bool:
    """Restarts this program in a network namespace; returns whether it now runs in one."""
    if os.environ.get(_INSIDE) == "yes":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        resolver = Path(tempfile.mkstemp(prefix="resolv")[1])
        resolver.write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
        # MS_BIND: only this mount namespace sees it.
        mounted = ctypes.CDLL(None).mount(str(resolver).encode(), b"/etc/resolv.conf", None, 4096, None)
        return mounted == 0
    command = ["unshare", "--net", "--mount", "--"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if allowed:
        os.environ[_INSIDE] = "yes"
        os.execvp(command[0], [*command, sys.executable, "-W", "ignore", "-m", "tests.attack", *sys.argv[1:]])
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=15, help="of each attack (default: 15)")
    parser.add_argument("--only", action="append", help="only this attack; may be repeated")
    parser.add_argument("--quick", action="store_true", help="only all attacks at once, without a comparison")
    options = parser.parse_args()
    # All processes find the plug-ins of the tests.
    os.environ["PYTHONPATH"] = str(PLUGINS)
    has_names = enter_namespace()
    failed = False
    with tempfile.TemporaryDirectory(prefix="attack-") as folder, arena(Path(folder), has_names=has_names) as here:
        attacks = options.only or here.attacks
        rounds = [("alone", []), *((attack, [attack]) for attack in attacks), ("alone again", [])]
        if options.quick:
            rounds = []
        if options.quick or not options.only:
            rounds.append(("all at once", attacks))
        print(  # noqa: T201
            f"{'attack':12} {'steps':>6} {'p50 ms':>8} {'p99 ms':>8} {'x alone':>8} {'hurt':>5} {'MB':>5}  attackers"
        )
        alone_ms = 0.0
        for name, some in rounds:
            found = here.measure(name, some, options.seconds)
            alone_ms = alone_ms or found.p99_ms
            failed = failed or found.hurt > 0 or found.largest_mb > MAX_MB
            print(  # noqa: T201
                f"{name:12} {found.steps:6} {found.p50_ms:8.0f} {found.p99_ms:8.0f} {found.p99_ms / alone_ms:8.2f} "
                f"{found.hurt:5} {found.largest_mb:5}  {found.attackers}",
                flush=True,
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
