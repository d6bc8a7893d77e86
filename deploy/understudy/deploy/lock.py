"""The lock that makes a folder belong to one process at a time."""

import fcntl
import os
from pathlib import Path
from typing import Self


class DataDirLocked(Exception):
    """Another process holds the lock. `pid` is that process, 0 if it did not write its pid yet."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"already running (pid {pid}) on {path.parent}")
        self.pid = pid


class DataDirLock:
    """An exclusive lock on a file, with the pid of its holder in it.

    The system frees it when the holder ends in whatever way, so that it can't be left over. The file stays:
    to remove it would let two processes lock two files of the same name. Not handed on to child processes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> Self:
        """Takes the lock; raises FolderTaken at once if another holds it, having changed nothing."""
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
