"""Virtual environments with the built wheel, apart from the one that runs the tests."""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import sysconfig
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


def environment_with(wheel: Path, extra: str, constraints: Path, python: str = sys.executable) -> Path:
    """Returns the Python of an environment with `wheel[extra]`; installs dependencies once."""
    facts = (constraints.read_text(), (constraints.parent / "pyproject.toml").read_text(), python)
    name = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    folder = FOLDER / f"{extra or 'client'}-{name}"
    content = hashlib.sha256(wheel.read_bytes()).hexdigest()
    installed = folder / "installed"
    with locked(folder):
        here = folder / "venv" / "bin" / "python"
        pip = (here, "-m", "pip", "install", "-qq", "-c", constraints)
        if not installed.exists():
            run(python, "-m", "venv", "--clear", folder / "venv", cwd=folder)
            run(*pip, f"{wheel}[{extra}]" if extra else wheel, cwd=folder, timeout_s=600)
        elif installed.read_text() != content:
            run(*pip, "--no-deps", "--force-reinstall", wheel, cwd=folder)
        installed.write_text(content)
    return here


def create_environment(wheel: Path, folder: Path, commands: Sequence[str]) -> None:
    """Creates an environment with the wheel that borrows all other packages, and these commands, of the tests.

    It needs no registry and takes a few seconds.
    """
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Without the import of the checkout: files for paths count in the own folder only.
    (packages / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    here = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", here)
    run(*pip, "install", "-qq", "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=folder)
    for command in commands:
        text = Path(sys.executable).with_name(command).read_text()
        script = here.with_name(command)
        script.write_text(f"#!{here}\n" + text.partition("\n")[2])
        script.chmod(0o755)
