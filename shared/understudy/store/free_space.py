"""Checks that the disk of a SQLite store has room. PostgreSQL looks after its own disk, which is another machine's."""

import logging
import shutil
from pathlib import Path

from sqlalchemy import URL

from understudy.domain.errors import ServiceUnavailable

log = logging.getLogger(__name__)

#: Below this a store is full: a checkpoint of its write-ahead log needs room, too.
MIN_FREE_BYTES = 16 * 1024 * 1024


def check_free_space(url: URL) -> None:
    """Raises ServiceUnavailable if the disk of this store has less than MIN_FREE_BYTES left.

    A folder that does not exist yet is judged by the one that it will be created in.
    """
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return
    folder = Path(url.database).absolute().parent
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        raise ServiceUnavailable(
            f"Not ready: disk full. The disk of the store has {free / 1024**2:.0f} MiB left; "
            f"it needs {MIN_FREE_BYTES // 1024**2} MiB.",
            suggestions=("Free some space on it, for instance with `understudy prune`; then send the request again.",),
        )


def log_if_full(url: URL) -> None:
    """Logs an error if `check_free_space` raises one: a process still starts, because reads work."""
    try:
        check_free_space(url)
    except ServiceUnavailable as full:
        log.error("%s", full)  # noqa: TRY400 - the sentence says all
