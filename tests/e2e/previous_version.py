"""The version before this one, in an environment of its own, to run beside it."""

import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.servers import ROOT, Installation
from tests.virtual_environments import FOLDER, build_wheel, environment_with, locked

#: The last commit of the previous version; to be moved with each release, to its tag. Nothing has been
#: released yet: this is the last one whose schema is the first.
PREVIOUS = "d06ffa72f1e8127371e0fca1f21ed7eafa3486c2"


def previous_version(wheel_folder: Path) -> Installation:
    """Builds and installs the previous version; skips the test, with the reason, if git does not have it.

    It has its own environment, its own dependencies and its own copy of the test plug-in: nothing that is
    installed beside this version, entry points included, is visible to its processes.
    """
    folder = FOLDER / "previous"
    source = folder / PREVIOUS
    with locked(folder):
        if not source.exists():
            _unpack(source)
        wheel = build_wheel(source, wheel_folder)
    python = environment_with(wheel, "", source / "constraints.txt")
    return Installation(str(python), "deploy.main", source / "tests" / "plugins")


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
