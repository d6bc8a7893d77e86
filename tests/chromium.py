"""A headless Chromium for tests: that of the machine, or the one that `make chromium` unpacks from Debian."""

import os
import shutil
from pathlib import Path

from tests.servers import ROOT

_UNPACKED = ROOT / "build" / "chromium" / "usr"
SKIP_REASON = "no Chromium: `make chromium` fetches it from Debian"
#: Nothing that leaves this machine; a container has neither a sandbox nor much shared memory.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"]


def find_chromium() -> Path | None:
    """Returns the program, or None."""
    unpacked = _UNPACKED / "lib" / "chromium" / "chromium-headless-shell"
    found = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
    return unpacked if unpacked.exists() else Path(found) if found else None


def environment() -> dict[str, str | float | bool]:
    """Returns the variables with which the unpacked program finds its libraries."""
    folders = sorted({str(file.parent) for file in _UNPACKED.glob("lib/*-linux-gnu/**/*.so*")})
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(folders)}
