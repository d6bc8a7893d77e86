"""Files that only their owner can read: those of the data folder, whoever creates them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

#: The files that we create in a data folder. Other files in it are not ours to change.
_OURS = (
    *("understudy.db*", "token*", "server", "flower*", "up.lock"),
    *(f"{folder}{inside}" for folder in ("logs", "run", "broker") for inside in ("", "/**/*")),
)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def open_private(path: str, flags: int) -> int:
    """Opens a file like `os.open`; a new one has mode 0600."""
    return os.open(path, flags, 0o600)


def write_private(path: Path, text: str) -> None:
    """Writes a file with mode 0600 atomically; replaces an existing file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as stream:
        stream.write(text)
    draft.replace(path)


def narrow_data_folder(folder: Path) -> str:
    """Takes the rights of other users off a data folder and our files in it. Repeatable.

    Returns what it changed, in words; empty for nothing. Leaves alone what belongs to another user, symbolic links,
    and a folder without a file of ours.
    """
    changed = [path for path in _paths(folder) if _narrow(path)]
    if not changed:
        return ""
    return str(changed[0]) if len(changed) == 1 else f"{changed[0]} and {len(changed) - 1:,} more files of {folder}"


def _paths(folder: Path) -> Iterator[Path]:
    ours = [path for pattern in _OURS for path in folder.glob(pattern)]
    if ours:
        yield folder
        yield from ours


def _narrow(path: Path) -> bool:
    try:
        found = path.lstat()
        kept = stat.S_IMODE(found.st_mode) & ~_OTHERS
        is_shared = stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX
        if is_shared or kept == stat.S_IMODE(found.st_mode):
            return False
        path.chmod(kept)
    except FileNotFoundError:
        # Another process removed it meanwhile.
        return False
    return True
