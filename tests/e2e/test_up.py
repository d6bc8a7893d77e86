"""`understudy up` as a command: one ready line, one stack per folder, a clean end, nothing left over."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

READY = re.compile(r"ready (http://127\.0\.0\.1:[0-9]+)\n")


class Up:
    """A running `understudy up` on a folder."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        environment = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "understudy.deploy.main", "up", "--data-dir", str(data_dir), *options],
            # Somewhere else: it must not matter from where it is called.
            cwd=data_dir.parent,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        """Waits until it says that it is ready."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = READY.fullmatch(line)
        assert found, f"not ready: {line}{self.process.communicate()[1]}"
        return found[1]

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        """Sends the signal, if one is given, and waits for the end: exit code and what was printed since."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def pids(self) -> dict[str, int]:
        """The processes it runs, by their names."""
        pids = {}
        for file in (self.data_dir / "run").glob("*.pid"):
            # Gone while we look: that part has just ended.
            with contextlib.suppress(FileNotFoundError):
                pids[file.stem] = int(file.read_text().split()[0])
        return pids


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts `up` on one folder; whatever still runs in the end is killed."""
    started: list[Up] = []

    def begin(*options: str) -> Up:
        started.append(Up(tmp_path / "data", *options))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.communicate()


def gone(pids: dict[str, int], *, within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while any(alive(pid) for pid in pids.values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    """A zombie, whoever has to reap it, is not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except ProcessLookupError:
        return False


def test_a_stack_starts_serves_and_ends_cleanly_again_and_again(start: Callable[..., Up]) -> None:
    first = start("--port", "0", "--workers", "2")
    url = first.url()
    assert httpx.get(f"{url}/readyz").status_code == 200
    pids = first.pids()
    assert set(pids) == {"broker", "api", "run-1", "run-2", "control", "alone", "sweeper", "flower"}
    data_dir = first.data_dir
    assert (data_dir / "server").read_text().strip() == url
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    for name in ("token", "flower-password"):
        assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600
    token = (data_dir / "token").read_text()
    authorized = {"Authorization": f"Bearer {token.strip()}"}
    assert httpx.get(f"{url}/v1/people").status_code == 401
    assert httpx.get(f"{url}/v1/people", headers=authorized).status_code == 200

    second_code, second_out, second_err = start("--port", "0").end()
    assert (second_code, second_out) == (1, "")
    assert f"already running (pid {first.process.pid})" in second_err
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert first.pids() == pids

    code, out, err = first.end(signal.SIGINT)
    assert (code, out) == (0, "")
    flower = re.search(r"Flower +(http://127\.0\.0\.1:[0-9]+)", err)
    assert flower
    assert f"{url}/docs" in err
    assert "stopped" in err
    assert gone(pids, within_s=0)
    assert not first.pids()
    for address in (url, flower[1]):
        with pytest.raises(httpx.ConnectError):
            httpx.get(address)

    again = start("--port", "0", "--no-flower")
    assert httpx.get(f"{again.url()}/v1/people", headers=authorized).status_code == 200
    assert (data_dir / "token").read_text() == token
    assert "flower" not in again.pids()
    assert again.end(signal.SIGTERM)[0] == 0


def test_flower_wants_its_password(start: Callable[..., Up]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    up = start("--port", "0", "--workers", "0", "--flower-port", str(port))
    up.url()
    assert set(up.pids()) == {"broker", "api", "sweeper", "flower"}
    tasks = f"http://127.0.0.1:{port}/api/tasks"
    password = (up.data_dir / "flower-password").read_text().strip()
    assert httpx.get(tasks).status_code == 401
    assert httpx.get(tasks, auth=("understudy", "wrong")).status_code == 401
    assert httpx.get(tasks, auth=("understudy", password)).status_code == 200
    if sys.platform == "linux":
        assert password not in Path(f"/proc/{up.pids()['flower']}/cmdline").read_text()
    assert up.end(signal.SIGINT)[0] == 0


def test_a_killed_stack_leaves_nobody_and_the_next_one_starts(start: Callable[..., Up]) -> None:
    first = start("--port", "0", "--no-flower")
    first.url()
    pids = first.pids()
    first.end(signal.SIGKILL)
    if sys.platform == "linux":
        assert gone(pids)
    second = start("--port", "0", "--no-flower")
    assert httpx.get(f"{second.url()}/readyz").status_code == 200
    assert gone(pids)
    assert second.end(signal.SIGINT)[0] == 0


def test_a_part_that_dies_is_started_again(start: Callable[..., Up]) -> None:
    up = start("--port", "0", "--no-flower")
    url = up.url()
    before = up.pids()
    for name in ("broker", "api", "run-1"):
        os.kill(before[name], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while True:
        now = up.pids()
        changed = all(now.get(name, before[name]) != before[name] for name in ("broker", "api", "run-1"))
        if changed and _ready(url):
            break
        assert time.monotonic() < deadline, f"{before} -> {now}"
        time.sleep(0.05)
    code, _, err = up.end(signal.SIGINT)
    assert code == 0
    assert {"broker", "api", "run-1"} == set(re.findall(r"(\S+) ended \(SIGKILL\)", err))


@pytest.mark.parametrize("option", ["--port", "--flower-port", "--broker-port"])
def test_a_taken_port_is_named_and_nothing_stays(start: Callable[..., Up], option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = {"--port": "0", option: port}
        up = start(*(word for pair in options.items() for word in pair))
        code, out, err = up.end()
    assert (code, out) == (1, "")
    assert f"port {port}" in err
    assert "Traceback" not in err
    assert not up.pids()


@pytest.mark.parametrize(
    "options",
    [
        ("--port", "70000"),
        ("--port", "x"),
        ("--workers", "65"),
        ("--workers", "-1"),
        ("--concurrency", "0"),
        ("--concurrency", "1001"),
        ("--flower-port", "-1"),
        ("--bogus",),
        ("extra",),
    ],
)
def test_wrong_options_are_named_and_change_nothing(start: Callable[..., Up], options: tuple[str, ...]) -> None:
    up = start(*options)
    code, out, err = up.end()
    assert (code, out) == (2, "")
    assert options[0].lstrip("-") in err
    assert not up.data_dir.exists()


def test_a_data_folder_that_is_none(start: Callable[..., Up], tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    code, out, err = start("--port", "0").end()
    assert (code, out) == (1, "")
    assert "data folder" in err


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
