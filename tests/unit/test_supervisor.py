"""The supervisor, with tiny children: order, restarts, hastened stops, and that no process is left over."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import wait_until
from understudy.deploy.child import Child, ChildFailed, kill_orphan
from understudy.deploy.supervisor import StopRequested, Supervisor

#: Writes what happens to it into the diary, gets ready, and ends on SIGTERM unless told to ignore it.
CHILD = """
import os, pathlib, signal, sys, time
name, diary, ready, obeys = sys.argv[1:]
def note(what):
    with open(diary, "a") as file: file.write(f"{name} {what}\\n")
def leave(*_):
    note("stopped"); sys.exit(0)
signal.signal(signal.SIGTERM, leave if obeys == "obeys" else lambda *_: note("asked"))
note("started")
pathlib.Path(ready).write_text(str(os.getpid()))
while True: time.sleep(60)
"""


class Site:
    """A folder for children, with the diary they write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.diary = path / "diary"
        self.said: list[str] = []

    def child(self, name: str, *, obeys: bool = True) -> Child:
        ready = self.path / f"{name}.ready"
        arguments = (name, str(self.diary), str(ready), "obeys" if obeys else "ignores")
        return self.command(name, CHILD, *arguments, ready_file=ready)

    def sleeper(self, name: str) -> Child:
        """One that is never ready."""
        return self.command(name, "import time; time.sleep(600)", ready_file=self.path / f"{name}.ready")

    def command(self, name: str, script: str, *arguments: str, ready_file: Path | None = None) -> Child:
        command = [sys.executable, "-I", "-S", "-c", script, *arguments]
        return Child(name, command, log=self.path / f"{name}.log", run_dir=self.path, ready_file=ready_file)

    def supervisor(self, *, grace_s: float = 10) -> Supervisor:
        return Supervisor(log=self.said.append, grace_s=grace_s, backoff_s=0.05, max_backoff_s=0.2)

    def lines(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield Site(tmp_path)
    assert handlers == {number: signal.getsignal(number) for number in handlers}
    assert not list(tmp_path.glob("*.pid"))


def alive(pid: int) -> bool:
    """Does this process run? A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_stages_start_in_order_and_stop_in_reverse(site: Site) -> None:
    with site.supervisor() as supervisor:
        for name in ("first", "second", "third"):
            supervisor.start(site.child(name))
            supervisor.wait_ready(10)
    started = [f"{name} started" for name in ("first", "second", "third")]
    assert site.lines() == [*started, "third stopped", "second stopped", "first stopped"]
    assert site.said == []


def test_children_of_a_stage_stop_together(site: Site) -> None:
    children = [site.child(name, obeys=False) for name in ("a", "b", "c")]
    asked_by_then = []

    def say(line: str) -> None:
        site.said.append(line)
        asked_by_then.append(sorted(site.lines()[3:]))

    with Supervisor(log=say, grace_s=0.5) as supervisor:
        supervisor.start(*children)
        supervisor.wait_ready(10)
        supervisor.stop()
    assert asked_by_then[0] == ["a asked", "b asked", "c asked"]
    assert site.said == [f"{name} did not stop in time: killing it" for name in ("a", "b", "c")]
    assert [child.exit_code for child in children] == [-signal.SIGKILL] * 3


def test_a_child_that_dies_is_restarted_after_growing_pauses(site: Site) -> None:
    child = site.child("worker")
    restarts = 4
    with site.supervisor() as supervisor:
        supervisor.start(child)
        for life in range(2, restarts + 2):
            supervisor.wait_ready(10)
            assert child.pid
            os.kill(child.pid, signal.SIGKILL)
            supervisor.run(until=lambda life=life: site.lines().count("worker started") == life)
        supervisor.wait_ready(10)
    pauses = [text.partition("restarting it in ")[2].partition(" s;")[0] for text in site.said]
    assert pauses == ["0.05", "0.1", "0.2", "0.2"]
    assert all("worker ended (SIGKILL)" in text and str(child.log) in text for text in site.said)
    assert site.lines().count("worker stopped") == 1


def test_a_restart_first_ends_the_processes_that_a_child_left_in_its_session(site: Site) -> None:
    script = """
import pathlib, subprocess, sys, time
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1], "a") as file: file.write(f"{helper.pid}\\n")
sys.exit(3)
"""
    child = site.command("parent", script, str(site.diary))
    with site.supervisor() as supervisor:
        supervisor.start(child)
        supervisor.run(until=lambda: len(site.lines()) >= 2)
    assert "parent ended (exit code 3)" in site.said[0]
    wait_until(lambda: not any(alive(int(pid)) for pid in site.lines()))


def test_a_child_that_cannot_start_fails_with_the_end_of_its_log(site: Site) -> None:
    script = "import sys; print('no such broker'); sys.exit(7)"
    broken = site.command("broken", script, ready_file=site.path / "never")
    with site.supervisor() as supervisor:
        supervisor.start(site.child("other"))
        supervisor.start(broken)
        with pytest.raises(ChildFailed, match=r"broken failed to start \(exit code 7\)[\s\S]*no such broker"):
            supervisor.wait_ready(10)


def test_a_command_that_does_not_exist_fails(site: Site) -> None:
    missing = Child("missing", ["/no/such/command"], log=site.path / "log", run_dir=site.path)
    with site.supervisor() as supervisor:
        supervisor.start(missing)
        wait_until(lambda: not missing.running)
        with pytest.raises(ChildFailed, match="can't run /no/such/command: No such file"):
            supervisor.wait_ready(10)


def test_a_child_that_is_never_ready_fails(site: Site) -> None:
    with site.supervisor() as supervisor:
        supervisor.start(site.sleeper("slow"))
        with pytest.raises(ChildFailed, match="slow was not ready within 0 s"):
            supervisor.wait_ready(0.2)


def test_an_exception_stops_all_children(site: Site) -> None:
    child = site.child("one")

    def start_and_fail() -> None:
        with site.supervisor() as supervisor:
            supervisor.start(child)
            supervisor.wait_ready(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start_and_fail()
    assert site.lines() == ["one started", "one stopped"]


def test_an_old_ready_file_does_not_make_a_child_ready(site: Site) -> None:
    (site.path / "slow.ready").write_text("")
    slow = site.sleeper("slow")
    with site.supervisor() as supervisor:
        supervisor.start(slow)
        assert not slow.ready


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_watch(site: Site, number: signal.Signals) -> None:
    with site.supervisor() as supervisor:
        supervisor.start(site.child("one"))
        supervisor.wait_ready(10)
        os.kill(os.getpid(), number)
        supervisor.run()
    assert site.lines() == ["one started", "one stopped"]


def test_a_signal_ends_the_wait_for_readiness(site: Site) -> None:
    slow = site.sleeper("slow")
    with site.supervisor() as supervisor:
        supervisor.start(slow)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StopRequested):
            supervisor.wait_ready(60)
    assert not slow.running


#: A supervisor in a process of its own, with a child that does not listen to SIGTERM.
SUPERVISOR = """
import sys
from pathlib import Path
from understudy.deploy.child import Child
from understudy.deploy.supervisor import Supervisor
path, script = Path(sys.argv[1]), sys.argv[2]
with Supervisor(grace_s=600) as supervisor:
    for name in ("deaf", "deafer"):
        ready = path / f"{name}.ready"
        command = [sys.executable, "-I", "-S", "-c", script, name, str(path / "diary"), str(ready), "ignores"]
        supervisor.start(Child(name, command, log=path / "log", run_dir=path, ready_file=ready))
    supervisor.wait_ready(30)
    print("ready", flush=True)
    supervisor.run()
print("stopped", flush=True)
"""


def test_a_second_ctrl_c_hastens_the_stop(site: Site) -> None:
    command = [sys.executable, "-c", textwrap.dedent(SUPERVISOR), str(site.path), CHILD]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            pids = [int((site.path / f"{name}.ready").read_text()) for name in ("deaf", "deafer")]
            process.send_signal(signal.SIGINT)
            wait_until(lambda: "deafer asked" in site.lines())
            process.send_signal(signal.SIGINT)
            out, said = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "stopped\n")
    assert said.splitlines() == [f"{name} did not stop in time: killing it" for name in ("deafer", "deaf")]
    assert not any(alive(pid) for pid in pids)


def test_an_orphan_is_killed_but_never_another_process_with_its_pid(tmp_path: Path) -> None:
    pid_file = tmp_path / "broker.pid"
    child = Child("broker", ["sleep", "600"], log=tmp_path / "log", run_dir=tmp_path)
    child.start()
    recorded = pid_file.read_text()
    # The same pid, born at another moment: not the process that was recorded.
    pid_file.write_text(recorded.strip() + "1\n")
    assert kill_orphan(pid_file) is None
    assert child.running
    assert not pid_file.exists()

    pid_file.write_text(recorded)
    assert kill_orphan(pid_file) == child.pid
    wait_until(lambda: not child.running)
    assert kill_orphan(pid_file) is None  # may be repeated


@pytest.mark.parametrize("damaged", ["", "12", "x y", "1 1", "-5 x"])
def test_a_damaged_pid_file_ends_no_process(tmp_path: Path, damaged: str) -> None:
    pid_file = tmp_path / "broker.pid"
    pid_file.write_text(damaged)
    assert kill_orphan(pid_file) is None


@pytest.mark.parametrize(("calls_models", "seen"), [(False, "kept\n"), (True, "kept sk-1 sk-2\n")])
def test_child_gets_the_settings_of_models_only_if_it_calls_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls_models: bool, seen: str
) -> None:
    for name, value in (("KEPT", "kept"), ("UNDERSTUDY_LLM_API_KEY", "sk-1"), ("understudy_llm_api_key", "sk-2")):
        monkeypatch.setenv(name, value)
    command = ["sh", "-c", "echo $KEPT $UNDERSTUDY_LLM_API_KEY $understudy_llm_api_key"]
    child = Child("shell", command, log=tmp_path / "log", run_dir=tmp_path, calls_models=calls_models)
    child.start()
    wait_until(lambda: not child.running)
    child.stop(1)
    assert (tmp_path / "log").read_text() == seen
