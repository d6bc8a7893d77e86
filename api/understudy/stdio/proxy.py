"""Offers the tools and resources of a server over stdio, so that a desktop host needs no server of its own."""

import asyncio
from importlib.metadata import version
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from understudy.client.server_address import ServerAddress, server_url
from understudy.domain.addresses import is_loopback
from understudy.domain.errors import ServiceUnavailable

#: Seconds to connect to the server. An answer may take as long as a wait.
CONNECT_TIMEOUT_S = 5.0


def serve(address: ServerAddress) -> None:
    """Serves one host until it closes standard input. Raises ServiceUnavailable if the server refuses MCP."""
    asyncio.run(_serve(address))


async def _serve(address: ServerAddress) -> None:
    url = server_url(address.server)
    async with httpx2.AsyncClient(
        headers={"Authorization": f"Bearer {address.token}"},
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
        # As the Python client: a proxy would connect to its own loopback address.
        trust_env=not is_loopback(url.host),
    ) as http:
        transport = streamable_http_client(f"{str(url).rstrip('/')}/mcp", http_client=http)
        async with Client(transport) as client, stdio_server() as (incoming, outgoing):
            server = _create_server(client)
            await server.run(incoming, outgoing, server.create_initialization_options())


def _create_server(client: Client) -> Server[Any]:
    """Returns a server that passes each request on to `client`."""

    async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return await client.list_tools(cursor=params.cursor if params else None)

    async def call_tool(
        context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        async def report(progress: float, total: float | None, message: str | None) -> None:
            await context.session.report_progress(progress, total, message)

        try:
            return await client.call_tool(params.name, params.arguments or {}, progress_callback=report)
        except httpx2.HTTPError as error:
            return _unavailable(error)

    async def list_resources(_: Any, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        return await client.list_resources(cursor=params.cursor if params else None)

    async def list_templates(_: Any, params: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
        return await client.list_resource_templates(cursor=params.cursor if params else None)

    async def read_resource(_: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        return await client.read_resource(params.uri)

    return Server(
        "understudy",
        version=version("understudy"),
        title="Understudy",
        instructions=client.instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


def _unavailable(error: Exception) -> types.CallToolResult:
    text = ServiceUnavailable(f"The server did not answer ({error}). Repeat the call in a moment.").text
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
