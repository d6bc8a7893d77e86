"""Who calls a tool, and how it is told how far a wait has come."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias
from uuid import UUID

from starlette.concurrency import run_in_threadpool

from understudy.domain.errors import ServiceUnavailable
from understudy.envelopes.simulations import Dispatch, RunFailure, RunSuccess
from understudy.service import Service
from understudy.service.response import build_response, unfinished, wait_and_build_response
from understudy.store.engine import StoreError

#: How often a caller hears from its wait.
PROGRESS_INTERVAL_S = 3.0
#: So long it takes at most to find out how far it is; else what was known is told again.
_LOOK_TIMEOUT_S = 1.0

#: Told how much is done of how much, and in words.
Report: TypeAlias = Callable[[float, float, str], Awaitable[None]]


class ClientDisconnected(Exception):
    """The client went away while it waited; nobody is there to be answered."""


class Call(NamedTuple):
    """A call of one tool."""

    service: Service
    workspace_id: UUID
    #: Set when nobody is there any more to be answered.
    disconnected: asyncio.Event
    #: None: the caller did not ask to hear of progress.
    report: Report | None = None

    async def dispatch_response(
        self, dispatch: Dispatch, timeout_s: float, *, wait: bool
    ) -> RunSuccess | RunFailure:
        """A dispatch at once, or when it is done or the wait has run out. Raises HungUp."""
        if not wait:
            return await run_in_threadpool(
                build_response, self.service, self.workspace_id, dispatch, timeout_s
            )
        waiting = asyncio.create_task(
            wait_and_build_response(self.service, self.workspace_id, dispatch, timeout_s)
        )
        hanging_up = asyncio.create_task(self._hung_up())
        telling = asyncio.create_task(self._report_progress(dispatch.participant_ids))
        try:
            await asyncio.wait({waiting, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ClientDisconnected
            return waiting.result()
        finally:
            for task in (waiting, hanging_up, telling):
                task.cancel()

    async def _hung_up(self) -> None:
        await self.disconnected.wait()

    async def _report_progress(self, ids: Sequence[UUID]) -> None:
        """Tell how many are done, again and again, until all are."""
        if self.report is None:
            return
        began, total, left = time.monotonic(), len(ids), ids
        while left:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            with contextlib.suppress(ServiceUnavailable, StoreError, TimeoutError):
                async with asyncio.timeout(_LOOK_TIMEOUT_S):
                    left = await self.service.waiting.read(
                        partial(unfinished, self.service, self.workspace_id, left)
                    )
            waited_s = time.monotonic() - began
            done = total - len(left)
            # The protocol wants each number higher than the one before: the whole part says how many are
            # done, the rest only grows with time and never reaches one more.
            so_far = done + waited_s / (waited_s + 60) if left else total
            await self.report(so_far, total, f"{done} of {total} done after {waited_s:.0f} s")
