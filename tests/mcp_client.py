"""An MCP client with a token: the official SDK over real HTTP."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from tests.http_client import ApiClient

#: The protocol with sessions (2025-11-25) and the newest one without (2026-07-28).
PROTOCOL_MODES = ("legacy", "auto")

Result = TypeVar("Result")


@asynccontextmanager
async def connect(caller: ApiClient, era: str = "legacy") -> AsyncIterator[Client]:
    """Yields a client in that protocol mode with the caller's token."""
    async with (
        httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {caller.secret}"}, trust_env=False, timeout=60, verify=False
        ) as http,
        Client(streamable_http_client(f"{caller.api}/mcp", http_client=http), mode=era) as client,
    ):
        yield client


@asynccontextmanager
async def connect_stdio(caller: ApiClient) -> AsyncIterator[Client]:
    """A client of the command `understudy mcp`, as a desktop host starts it."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-W", "ignore", "-m", "understudy.deploy.main", "mcp"],
        env={**os.environ, "UNDERSTUDY_SERVER": caller.api, "UNDERSTUDY_TOKEN": caller.secret},
    )
    async with Client(stdio_client(command)) as client:
        yield client


def run_with_client(caller: ApiClient, scene: Callable[[Client], Awaitable[Result]], era: str = "legacy") -> Result:
    """Runs a coroutine with a client; returns its result."""

    async def run() -> Result:
        async with connect(caller, era) as client:
            # Its exception is raised outside: inside, the client's task groups would wrap it.
            (came_to,) = await asyncio.gather(scene(client), return_exceptions=True)
        if isinstance(came_to, BaseException):
            raise came_to
        return came_to

    return asyncio.run(run())


def call(caller: ApiClient, tool: str, era: str = "legacy", **arguments: Any) -> CallToolResult:
    """Returns the result of one call; the client checks it against the listed schema."""
    return run_with_client(caller, lambda client: client.call_tool(tool, arguments), era)


def answer(caller: ApiClient, tool: str, era: str = "legacy", **arguments: Any) -> Any:
    """Returns the answer of a tool; it must be no error."""
    result = call(caller, tool, era, **arguments)
    assert not result.is_error, result.content
    return result.structured_content


def refusal(caller: ApiClient, tool: str, era: str = "legacy", **arguments: Any) -> str:
    """Returns the text of a tool's error."""
    result = call(caller, tool, era, **arguments)
    assert result.is_error, result.structured_content
    assert result.structured_content is None
    (content,) = result.content
    return str(content.text)
