"""The version before this one, in an environment of its own, to run beside it."""

import fcntl
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.servers import ROOT, Installation

#: The last commit of the previous version; to be moved with each release, to its tag. Nothing has been
#: released yet: this is the last one whose schema is the first.
PREVIOUS = "d06ffa72f1e8127371e0fca1f21ed7eafa3486c2"
#: Installed once for each commit, and used again by later runs.
_FOLDER = ROOT / "build" / "previous" / PREVIOUS
_PLUGINS = "tests/plugins"


def previous_version() -> Installation:
    """Builds and installs the previous version; skips the test, with the reason, if git does not have it.

    It has its own environment, its own dependencies and its own copy of the test plug-in: nothing that is
    installed beside this version, entry points included, is visible to its processes.
    """
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:
        # Tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = _FOLDER / "venv" / "bin" / "python"
        installed = _FOLDER / "installed"
        if not installed.exists():
            _unpack(_FOLDER / "source")
            _run(sys.executable, "-m", "venv", "--clear", str(_FOLDER / "venv"))
            _run(
                *(str(python), "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", str(_FOLDER)),
                "source",
            )
            (wheel,) = _FOLDER.glob("understudy-*.whl")
            _run(str(python), "-m", "pip", "install", "-qq", "-c", "source/constraints.txt", str(wheel))
            installed.touch()
    return Installation(str(python), "deploy.main", _FOLDER / "source" / _PLUGINS)


def _unpack(folder: Path) -> None:
    command = ["git", "archive", "--format=zip", PREVIOUS]
    try:
        archived = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        why = error.stderr.decode().strip() if isinstance(error, subprocess.CalledProcessError) else error
        pytest.skip(
            f"the previous version, {PREVIOUS}, is not available: {why}; "
            "a shallow checkout has it after `git fetch --unshallow`"
        )
    with zipfile.ZipFile(io.BytesIO(archived)) as packed:
        packed.extractall(folder)


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    ran = subprocess.run(
        command, cwd=_FOLDER, env=environment | quiet, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
