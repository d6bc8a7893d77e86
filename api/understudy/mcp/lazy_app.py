"""Loads the MCP app at its first request: the SDK takes a third of the API's start and a quarter of its memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from understudy.service import Service

if TYPE_CHECKING:
    from understudy.mcp.app import McpApp


class LazyMcpApp:
    """Serves MCP to authenticated requests, inside the block of `run`. Requests during the load wait for it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loading: asyncio.Task[McpApp] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serves during the block; its end closes all sessions."""
        yield
        self._ended.set()
        if self._serving is not None:
            # A load that failed has already failed its requests.
            await asyncio.wait({self._serving})

    def close_streams(self) -> None:
        """Ends the idle streams of clients at the shutdown of this process."""
        if self._loading is not None and self._ready.is_set():
            self._loading.result().close_streams()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._loading is None:
            # Tasks of their own, which the end of this request does not cancel and its log fields do not reach.
            context = Context()
            self._loading = asyncio.create_task(run_in_threadpool(_load, self._service), context=context)
            self._serving = asyncio.create_task(self._serve(self._loading), context=context)
        app = await asyncio.shield(self._loading)
        await self._ready.wait()
        await app(scope, receive, send)

    async def _serve(self, loading: "asyncio.Task[McpApp]") -> None:
        """Opens and closes the sessions in one task, as the SDK requires."""
        app = await loading
        async with app.run():
            self._ready.set()
            await self._ended.wait()


def _load(service: Service) -> "McpApp":
    from understudy.mcp.app import McpApp  # noqa: PLC0415 - this import is the slow part

    return McpApp(service)
