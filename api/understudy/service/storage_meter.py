"""Measures in the background what workspaces store, where a quota on stored bytes is in force."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from understudy.domain.errors import ServiceUnavailable
from understudy.service.executors import shutdown_executors
from understudy.settings import Settings
from understudy.store import quotas
from understudy.store.engine import Store, StoreError
from understudy.store.workspaces import list_rows
from understudy.telemetry.outages import OutageLog

log = logging.getLogger(__name__)

#: Seconds between two measurements.
INTERVAL_S = 10.0
#: Maximum transactions of one measurement of a workspace.
MAX_PAGES = 50


class StorageMeter:
    """Keeps the measures up to date. A dispatch measures again what little was stored since."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._thread = ThreadPoolExecutor(1, "storage-meter")
        self._outages = OutageLog(log, "store")
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Starts to measure; call it on the event loop."""
        self._task = asyncio.create_task(self._loop())

    async def close(self) -> None:
        """Stops measuring."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await shutdown_executors(self._thread)

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self.measure)
            except (ServiceUnavailable, StoreError) as error:
                self._outages.failed(error, "stored bytes are measured later")
            else:
                self._outages.succeeded()

    def measure(self) -> None:
        """Measures the new events of each workspace with a quota. Raises ServiceUnavailable."""
        with self._store.read() as connection:
            rows = list_rows(connection)
        for row in rows:
            if self._settings.value_in_force(row, "stored_bytes"):
                quotas.measure_all(self._store, row.id, MAX_PAGES)
