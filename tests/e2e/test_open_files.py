"""Limits of open files of real processes."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import THIS_VERSION, Process
from understudy.settings import Settings

REFUSAL = "300 concurrent simulations need 1000 open files, but the hard limit is 256"


@pytest.mark.parametrize("command", [("worker", "--concurrency", "300"), ("up", "--concurrency", "300", "--port", "0")])
def test_command_with_too_few_open_files_is_refused_as_a_usage_error(command: tuple[str, ...], tmp_path: Path) -> None:
    limited = f"ulimit -n 256 && exec {sys.executable} -m understudy.deploy.main {' '.join(command)}"
    ended = subprocess.run(["sh", "-c", limited], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    text = " ".join(ended.stderr.split())
    assert REFUSAL in text
    assert "`ulimit -n 1000`" in text
    assert "--concurrency" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_worker_raises_its_soft_limit_to_what_it_needs(settings: Settings) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        # A fresh process, which inherits the limits of this one.
        fresh = THIS_VERSION._replace()
        worker = Process(settings, "worker", "--concurrency", "300", "--ready", name="run-1", version=fresh)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        worker.wait_ready()
        limits = Path(f"/proc/{worker.popen.pid}/limits").read_text()
        assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")] == ["1000"]
    finally:
        worker.stop()
