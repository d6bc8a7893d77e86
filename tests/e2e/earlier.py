"""The version before this one, to run beside it."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.servers import ROOT

#: The last commit of the previous version; to be moved with each release, to its tag. Nothing has been
#: released yet: this is the last one whose schema is the first.
PREVIOUS = "d06ffa72f1e8127371e0fca1f21ed7eafa3486c2"
#: What of it runs.
PARTS = ("api", "deploy", "docs", "shared", "worker")


def unpack_previous(folder: Path) -> None:
    """Put its source into `folder`; where git does not have it, skip the test that asked, with the reason."""
    command = ["git", "archive", "--format=zip", PREVIOUS, *PARTS]
    try:
        archived = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        why = error.stderr.decode().strip() if isinstance(error, subprocess.CalledProcessError) else error
        pytest.skip(
            f"the previous version, {PREVIOUS}, cannot be had here: {why}; "
            "a shallow checkout has it after `git fetch --unshallow`"
        )
    with zipfile.ZipFile(io.BytesIO(archived)) as packed:
        packed.extractall(folder)
    asked = [sys.executable, "-c", "import shared; print(shared.__file__)"]
    found = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(folder), f"it is not what a process started there runs: {found}"
