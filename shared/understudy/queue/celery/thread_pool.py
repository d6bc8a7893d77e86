"""Celery's pool of threads, of which tools see the process."""

import os
from typing import Any

from celery.concurrency.thread import TaskPool


class ThreadPool(TaskPool):  # type: ignore[misc]
    """Runs stop tasks in threads."""

    def _get_info(self) -> dict[str, Any]:
        # Exporters count the processes of a queue by it.
        return dict(super()._get_info()) | {"processes": [os.getpid()]}
