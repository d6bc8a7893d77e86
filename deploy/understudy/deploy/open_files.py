"""Raises this process's limit of open files before it starts workers."""

import resource

from understudy.domain.open_files import select_soft_limit


def raise_open_file_limit(concurrency: int) -> None:
    """Raises the soft limit to what a worker of this concurrency needs; children inherit it.

    Raises ValidationError if the hard limit is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    selected = select_soft_limit(concurrency, _or_unlimited(soft), _or_unlimited(hard))
    if selected is not None and selected != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (selected, hard))


def _or_unlimited(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit
