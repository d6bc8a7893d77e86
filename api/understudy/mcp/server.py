"""The MCP server: its lists and its tool calls. The SDK implements both protocol eras."""

import json
import logging
from importlib.metadata import version
from typing import Any, TypeAlias

import mcp_types as types
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from understudy.admission.performing import perform
from understudy.domain.errors import UnderstudyError
from understudy.envelopes.base import Envelope
from understudy.mcp import resources
from understudy.mcp.instructions import INSTRUCTIONS
from understudy.mcp.schemas import input_schema, output_schema
from understudy.mcp.waiter import ClientDisconnected, Waiter
from understudy.operations.operation import Tier
from understudy.operations.tools import TOOLS, Tool, ToolCall
from understudy.operations.validation_messages import MAX_NAME
from understudy.service import Service
from understudy.service.call import Call
from understudy.service.response import failure
from understudy.settings import Settings

log = logging.getLogger(__name__)

#: Milliseconds for which a client may cache a list; only another version of this program changes it.
_LIST_CACHE_TTL_MS = 300_000

Context: TypeAlias = ServerRequestContext[Any, Request]


def create_server(service: Service) -> Server[Any]:
    """Returns a server of all tools and resources; each request carries its workspace."""
    tools = {tool.name: tool for tool in TOOLS}
    listed = listed_tools(service.settings)
    pages = resources.listed()

    async def list_tools(context: Context, _: Any) -> types.ListToolsResult:
        role = _request(context).state.role
        allowed = [one for one in listed if role.may(tools[one.name].operation.role)]
        return types.ListToolsResult(tools=allowed)

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            raise MCPError(
                types.INVALID_PARAMS, f"No such tool: {params.name[:MAX_NAME]!r}. Call one of: {', '.join(tools)}."
            )
        return await _result(service, tool, context, params.arguments or {})

    async def list_resources(_: Context, __: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=pages)

    async def list_templates(_: Context, __: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=list(resources.TEMPLATES))

    async def read_resource(context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        workspace_id = _request(context).state.workspace_id
        try:
            page = await run_in_threadpool(resources.read, service, workspace_id, params.uri)
        except UnderstudyError as error:
            raise MCPError(types.INVALID_PARAMS, _error_text(error)) from error
        content = types.TextResourceContents(uri=params.uri, mime_type=page.mime_type, text=page.text)
        return types.ReadResourceResult(contents=[content])

    cacheable = CacheHint(ttl_ms=_LIST_CACHE_TTL_MS)
    return Server(
        "understudy",
        version=version("understudy"),
        title="Understudy",
        instructions=INSTRUCTIONS,
        cache_hints=dict.fromkeys(("tools/list", "resources/list", "resources/templates/list"), cacheable),
        # Our tools mirror no argument in a header: there is nothing to check.
        get_tool_input_schema=lambda _: None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


def listed_tools(settings: Settings) -> list[types.Tool]:
    """Returns the tools as `tools/list` describes them."""
    return [_listed(tool, settings) for tool in TOOLS]


def _listed(tool: Tool, settings: Settings) -> types.Tool:
    is_read_only = tool.tier is Tier.READ_ONLY
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=input_schema(tool, settings),
        output_schema=output_schema(tool),
        annotations=types.ToolAnnotations(
            read_only_hint=is_read_only,
            destructive_hint=False,
            idempotent_hint=tool.operation.is_repeatable,
            open_world_hint=tool.operation.visits,
        ),
        _meta={"tier": str(tool.tier), "tags": list(tool.operation.tags)},
    )


async def _result(service: Service, tool: Tool, context: Context, arguments: dict[str, Any]) -> types.CallToolResult:
    """Returns the result or the error of the tool. Raises only if it is cancelled."""
    state = _request(context).state
    wants_progress = context.meta is not None and context.meta.get("progress_token") is not None
    report = context.session.report_progress if wants_progress else None
    waiter = Waiter(service, state.workspace_id, state.disconnected, report)
    try:
        asked = _parse(tool, arguments, state.flaw)
        call = Call(service, state.workspace_id, asked.idempotency_key, state.role, state.credential)
        return await perform(call, asked.operation, asked.request, waiter.hold, _answered)
    except UnderstudyError as error:
        return _failed(tool, error)
    except ClientDisconnected:
        return _failed(tool, UnderstudyError("The client disconnected."))
    except Exception:
        log.exception("tool %s failed", tool.name)
        return _failed(tool, UnderstudyError("Internal error. Search the server log for the X-Request-ID."))


def _parse(tool: Tool, arguments: dict[str, Any], argument_error: UnderstudyError | None) -> ToolCall:
    """Returns what the call asks for. Raises ValidationError, or `argument_error` if set."""
    if argument_error is not None:
        raise argument_error
    return tool.parse(arguments)


def _answered(envelope: Envelope) -> types.CallToolResult:
    structured = envelope.model_dump(mode="json")
    text = types.TextContent(text=json.dumps(structured, ensure_ascii=False))
    return types.CallToolResult(content=[text], structured_content=structured)


def _failed(tool: Tool, error: UnderstudyError) -> types.CallToolResult:
    if tool.operation.dispatches:
        return _answered(failure(error))
    return types.CallToolResult(content=[types.TextContent(text=_error_text(error))], is_error=True)


def _error_text(error: UnderstudyError) -> str:
    return "\n".join((error.text, *error.suggestions))


def _request(context: Context) -> Request:
    """Returns the HTTP request of the call."""
    assert context.request is not None
    return context.request
