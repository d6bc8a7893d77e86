"""A lock that gives one process exclusive use of a folder."""

import fcntl
import os
from pathlib import Path
from typing import Self


class DataDirLocked(Exception):
    """Another process holds the lock; `pid` is its process id, 0 if it has not written it yet."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"already running (pid {pid}) on {path.parent}")
        self.pid = pid


class DataDirLock:
    """An exclusive lock on a file that holds the pid of the lock's owner.

    The operating system frees the lock however the owner ends. The file stays: if it were removed, two
    processes could lock two files of the same name. Child processes do not inherit the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> Self:
        """Takes the lock. If another process holds it, raises DataDirLocked at once and changes nothing."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.read(file, 32).strip()
            os.close(file)
            raise DataDirLocked(self._path, int(written) if written.isdigit() else 0) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
