"""Callers of language models in processes that share quotas."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from understudy.models.profiles import ModelSettings
from understudy.models.quotas.quotas import FleetQuota, ModelQuotas
from understudy.store.engine import Store


class Callers:
    """Two processes with the same quotas, and counts of their calls."""

    def __init__(self, store: Store, redis_url: str, *, at_once: int = 1, **limits: int) -> None:
        """Calls last until `at_once` of them are active."""
        self._processes = [ModelQuotas(ModelSettings(**limits), redis_url, store) for _ in range(2)]
        self._at_once, self._reached = at_once, asyncio.Event()
        self.active = self.max_active = self.admitted = 0

    def quota(self, workspace: UUID, study: UUID, process: int = 0) -> FleetQuota:
        return self._processes[process].gate(workspace, study)

    async def call(self, workspace: UUID, study: UUID, process: int = 0, tokens: int = 0) -> None:
        quota = self.quota(workspace, study, process)
        async with quota.place():
            self.admitted += 1
            self.active += 1
            self.max_active = max(self.max_active, self.active)
            try:
                if self.active >= self._at_once:
                    self._reached.set()
                await self._reached.wait()
                await asyncio.sleep(0.01)
                await quota.spent(tokens)
            finally:
                self.active -= 1

    def run(self, scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `scene`, then closes the quotas."""

        async def run() -> None:
            try:
                async with asyncio.timeout(60):
                    await scene()
            finally:
                for process in self._processes:
                    await process.close()

        asyncio.run(run())
