"""`understudy up`: one ready line, one stack per folder, a clean end, no process left."""

import contextlib
import os
import re
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import PIPE, Popen

import httpx
import pytest
from typer.testing import CliRunner, Result

from tests.servers import free_port, wait_until
from understudy.client import Understudy
from understudy.deploy.main import app

READY = re.compile(r"ready (http://(?:127\.0\.0\.1|\[::1\]):[0-9]+)\n")


class Up:
    """A running `understudy up` on a folder."""

    def __init__(self, data_dir: Path, *options: str, variables: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        environment = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
        environment |= variables
        command = [sys.executable, "-m", "understudy.deploy.main", "up", "--data-dir", str(data_dir), *options]
        # The current folder must not matter.
        self.process = Popen(command, cwd=data_dir.parent, env=environment, stdout=PIPE, stderr=PIPE, text=True)

    def url(self) -> str:
        """Waits until it is ready; returns its address."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = READY.fullmatch(line)
        assert found, f"not ready: {line}{self.process.communicate()[1]}"
        return found[1]

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        """Sends the signal, if any, and waits for the end; returns exit code, stdout and stderr."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def pids(self) -> dict[str, int]:
        """Returns the ids of its processes by name."""
        pids = {}
        for file in (self.data_dir / "run").glob("*.pid"):
            # The component may have just ended.
            with contextlib.suppress(FileNotFoundError):
                pids[file.stem] = int(file.read_text().split()[0])
        return pids


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts `up` on one folder; kills it at the end of the test."""
    started: list[Up] = []

    def begin(*options: str, variables: Mapping[str, str] | None = None) -> Up:
        started.append(Up(tmp_path / "data", *options, variables=variables or {}))
        return started[-1]

    yield begin
    for up in started:
        up.process.kill()
        up.process.communicate()


def gone(pids: dict[str, int]) -> bool:
    return not any(alive(pid) for pid in pids.values())


def alive(pid: int) -> bool:
    """Is the process there, and no zombie?"""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except ProcessLookupError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_stack_on_an_ipv6_address_serves_clients_and_visits_sites_there(start: Callable[..., Up]) -> None:
    up = start("--host", "::1", "--port", "0", "--no-flower")
    url = up.url()
    assert url.startswith("http://[::1]:")
    assert (up.data_dir / "server").read_text().strip() == url
    with Understudy(url, (up.data_dir / "token").read_text().strip()) as client:
        client.person_create(generate=1)
        study = client.study_create(
            "Read", assignment={"task": "Read it."}, iteration={"content": {"environment": "web", "url": f"{url}/docs"}}
        )
        dispatched = client.study_run(study.id, sample=1, max_interactions=1, wait=True, timeout=60)
        assert [one.status for one in dispatched.participants] == ["completed"]
    code, _, err = up.end(signal.SIGINT)
    assert (code, "API docs  http://[::1]:" in err) == (0, True)


def test_a_stack_starts_serves_ends_cleanly_and_starts_again(start: Callable[..., Up]) -> None:
    flower_port = free_port()
    first = start("--port", "0", "--workers", "2", "--flower-port", str(flower_port))
    url = first.url()
    assert is_healthy(url)
    pids = first.pids()
    assert set(pids) == {"broker", "api", "run-1", "run-2", "control", "alone", "sweeper", "webhooks", "flower"}
    data_dir = first.data_dir
    assert (data_dir / "server").read_text().strip() == url
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE((data_dir / name).stat().st_mode) for name in ("token", "flower-password")} == {0o600}
    token = (data_dir / "token").read_text()
    authorized = {"Authorization": f"Bearer {token.strip()}"}
    assert httpx.get(f"{url}/v1/people").status_code == 401
    assert httpx.get(f"{url}/v1/people", headers=authorized).status_code == 200
    receivers = ("http://127.0.0.1:9/", "http://169.254.169.254/", "http://10.0.0.1/")
    hooks = [httpx.post(f"{url}/v1/webhooks", headers=authorized, json={"url": to}) for to in receivers]
    assert [hook.status_code for hook in hooks] == [201, 422, 422]
    flower = f"http://127.0.0.1:{flower_port}"
    password = (data_dir / "flower-password").read_text().strip()
    logins = (None, ("understudy", "wrong"), ("understudy", password))
    assert [httpx.get(f"{flower}/api/tasks", auth=login).status_code for login in logins] == [401, 401, 200]
    if sys.platform == "linux":
        assert password not in Path(f"/proc/{pids['flower']}/cmdline").read_text()

    code, out, err = start("--port", "0").end()
    assert (code, out) == (1, "")
    assert f"already running (pid {first.process.pid})" in err
    assert is_healthy(url)
    assert first.pids() == pids

    code, out, err = first.end(signal.SIGINT)
    assert (code, out) == (0, "")
    assert re.search(rf"Flower +{flower}", err)
    assert f"{url}/docs" in err
    assert "stopped" in err
    assert gone(pids)
    assert not first.pids()
    assert not is_healthy(url)
    with pytest.raises(httpx.ConnectError):
        httpx.get(flower)

    third = start("--port", "0", "--workers", "0")
    third.url()
    assert httpx.get(f"{flower}/api/tasks", auth=("understudy", password)).status_code == 200
    assert f"{flower}/tasks?name=simulation.run" in third.end(signal.SIGTERM)[2]
    again = start("--port", "0", "--no-flower", "--workers", "0")
    assert httpx.get(f"{again.url()}/v1/people", headers=authorized).status_code == 200
    assert (data_dir / "token").read_text() == token
    assert set(again.pids()) == {"broker", "api", "sweeper", "webhooks"}
    assert again.end(signal.SIGTERM)[0] == 0


def test_killed_components_are_restarted_and_a_killed_stack_leaves_no_process(start: Callable[..., Up]) -> None:
    killed = ("broker", "api", "run-1")
    first = start("--port", "0", "--no-flower")
    url = first.url()
    before = first.pids()
    for name in killed:
        os.kill(before[name], signal.SIGKILL)

    def restarted() -> bool:
        now = first.pids()
        return all(now.get(name, before[name]) != before[name] for name in killed) and is_healthy(url)

    wait_until(restarted)
    pids = first.pids()
    err = first.end(signal.SIGKILL)[2]
    assert set(killed) == set(re.findall(r"(\S+) ended \(SIGKILL\)", err))
    if sys.platform == "linux":
        wait_until(lambda: gone(pids))
    second = start("--port", "0", "--no-flower", "--workers", "0")
    assert is_healthy(second.url())
    assert gone(pids)
    assert second.end(signal.SIGINT)[0] == 0


def is_healthy(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz").is_success
    return False


# -- what ends at once, in this process --------------------------------------------------------------------


@pytest.fixture
def run_up(tmp_path: Path) -> Callable[..., Result]:
    """Runs `up` on the folder `data`."""

    def run(*options: str) -> Result:
        return CliRunner().invoke(app, ["up", "--data-dir", str(tmp_path / "data"), *options], catch_exceptions=False)

    return run


@pytest.mark.parametrize("option", ["--port", "--flower-port", "--broker-port"])
def test_a_taken_port_is_named_and_no_process_stays(run_up: Callable[..., Result], tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run_up("--port", "0", option, port)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"port {port}" in result.stderr
    assert not list((tmp_path / "data").glob("run/*.pid"))


@pytest.mark.parametrize(
    "wrong",
    [
        *("--port 70000", "--port x", "--workers 65", "--workers -1", "--concurrency 0", "--concurrency 1001"),
        *("--flower-port -1", "--bogus", "extra"),
    ],
)
def test_a_wrong_option_is_named_and_changes_nothing(run_up: Callable[..., Result], tmp_path: Path, wrong: str) -> None:
    option, *value = wrong.split()
    result = run_up(option, *value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert option.lstrip("-") in result.stderr
    assert not (tmp_path / "data").exists()


def test_a_file_in_place_of_the_data_folder_is_refused(run_up: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    result = run_up("--port", "0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "data folder" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_workers_that_run_participants_get_the_settings_of_models(
    start: Callable[..., Up],
) -> None:
    key = "sk-only-for-workers"
    up = start("--port", "0", variables={"UNDERSTUDY_LLM_API_KEY": key, "understudy_llm_model": "m"})
    up.url()
    holders = {
        name
        for name, pid in up.pids().items()
        if re.search(rf"{key}|understudy_llm", Path(f"/proc/{pid}/environ").read_text(), re.IGNORECASE)
    }
    assert {"api", "sweeper", "broker", "flower", "control"} <= set(up.pids())
    assert holders == {"run-1", "alone"}
    up.end(signal.SIGTERM)
