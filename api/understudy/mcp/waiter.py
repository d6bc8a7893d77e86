"""The wait of a tool call: its end, and its progress reports."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias
from uuid import UUID

from understudy.domain.errors import ServiceUnavailable
from understudy.envelopes.simulations import Dispatch, RunFailure, RunSuccess
from understudy.service import Service
from understudy.service.response import unfinished
from understudy.store.engine import StoreError

#: Seconds between two progress reports of a wait.
PROGRESS_INTERVAL_S = 3.0
#: Maximum seconds of a progress read; after a timeout the last known progress is reported again.
_LOOK_TIMEOUT_S = 1.0

#: Callback with progress, total and message.
Report: TypeAlias = Callable[[float, float, str], Awaitable[None]]


class ClientDisconnected(Exception):
    """The client disconnected during the wait; no response can be sent."""


class Waiter(NamedTuple):
    """The client of one tool call, while it waits."""

    service: Service
    workspace_id: UUID
    #: Set when the client disconnected or the response is complete.
    disconnected: asyncio.Event
    #: None if the caller did not request progress reports.
    report: Report | None = None

    async def hold(self, dispatch: Dispatch, work: Awaitable[RunSuccess | RunFailure]) -> RunSuccess | RunFailure:
        """Awaits `work` and reports progress meanwhile. Raises ClientDisconnected."""
        waiting = asyncio.ensure_future(work)
        disconnecting = asyncio.create_task(self._wait_for_disconnect())
        reporting = asyncio.create_task(self._report_progress(dispatch.participant_ids))
        try:
            await asyncio.wait({waiting, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ClientDisconnected
            return waiting.result()
        finally:
            for task in (waiting, disconnecting, reporting):
                task.cancel()

    async def _wait_for_disconnect(self) -> None:
        await self.disconnected.wait()

    async def _report_progress(self, ids: Sequence[UUID]) -> None:
        """Reports periodically how many are finished, until all are."""
        if self.report is None:
            return
        started, total, active = time.monotonic(), len(ids), ids
        while active:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            with contextlib.suppress(ServiceUnavailable, StoreError, TimeoutError):
                async with asyncio.timeout(_LOOK_TIMEOUT_S):
                    active = await self.service.waiting.read(
                        partial(unfinished, self.service, self.workspace_id, active)
                    )
            waited_s = time.monotonic() - started
            done = total - len(active)
            # The protocol requires increasing numbers: the integer part is the number of finished ones; the
            # fraction grows with time and never reaches one.
            progress = done + waited_s / (waited_s + 60) if active else total
            await self.report(progress, total, f"{done} of {total} finished after {waited_s:.0f} s")
