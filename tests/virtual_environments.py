"""Virtual environments with the built wheel, apart from the one that runs the tests."""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Kept for later runs, because installations need a registry.
FOLDER = ROOT / "build" / "environments"


def run(*command: str | Path, cwd: Path, timeout_s: float = 300, **variables: str) -> str:
    """Runs a command outside this checkout; returns its output. Raises AssertionError if it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UNDERSTUDY", "PYTHON"))}
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    ran = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=kept | quiet | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one test process at a time prepare a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_wheel(source: Path, folder: Path) -> Path:
    """Builds the wheel of a checkout into `folder`; the same source gives the same bytes."""
    run(sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment_with(
    wheel: Path, extra: str, constraints: Path, python: str = sys.executable, packages: Sequence[str] = ()
) -> Path:
    """Returns the Python of an environment with `wheel[extra]` and more packages; installs dependencies once."""
    facts = (constraints.read_text(), (constraints.parent / "pyproject.toml").read_text(), python, *packages)
    name = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    folder = FOLDER / f"{extra or 'client'}-{name}"
    content = hashlib.sha256(wheel.read_bytes()).hexdigest()
    installed = folder / "installed"
    with locked(folder):
        here = folder / "venv" / "bin" / "python"
        pip = (here, "-m", "pip", "install", "-qq", "-c", constraints)
        if not installed.exists():
            run(python, "-m", "venv", "--clear", folder / "venv", cwd=folder)
            run(*pip, f"{wheel}[{extra}]" if extra else wheel, *packages, cwd=folder, timeout_s=600)
        elif installed.read_text() != content:
            run(*pip, "--no-deps", "--force-reinstall", wheel, cwd=folder)
        installed.write_text(content)
    return here
