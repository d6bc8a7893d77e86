"""Converts the listed tools for the APIs of model providers: `make mcp-converters`.

Runs in an environment of its own, with the converters of `google-genai`, `openai-agents` and `anthropic`. The file
given as argument has the tools as `python -m tests.mcp_converters` prints them. Fails if a converter refuses one.
"""

import copy
import json
import sys
from pathlib import Path
from typing import Any


def list_tools() -> None:
    """Prints the tools as the server lists them."""
    from understudy.mcp.server import listed_tools
    from understudy.settings import Settings

    print(
        json.dumps(
            [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed_tools(Settings())]
        )
    )


def convert(tools: list[dict[str, Any]]) -> None:
    import mcp_types
    from agents.mcp import MCPServerStreamableHttp
    from agents.mcp.util import MCPUtil
    from agents.strict_schema import ensure_strict_json_schema
    from anthropic.lib.tools.mcp import async_mcp_tool
    from google.genai import types
    from google.genai._mcp_utils import mcp_to_gemini_tools

    models = [mcp_types.Tool.model_validate(tool) for tool in tools]
    names = [model.name for model in models]
    gemini = [declared.name for tool in mcp_to_gemini_tools(models) for declared in tool.function_declarations or ()]
    assert gemini == names, gemini
    assert all(isinstance(types.Schema, type) for _ in gemini)
    for tool in tools:
        # The strict form that the provider enforces.
        ensure_strict_json_schema(copy.deepcopy(tool["inputSchema"]))
    # No tool is called, so nothing connects.
    server = MCPServerStreamableHttp({"url": "http://127.0.0.1:1/mcp"})
    agents = [MCPUtil.to_function_tool(model, server, convert_schemas_to_strict=True) for model in models]
    assert [tool.name for tool in agents] == names
    # A strict schema has no objects with free names, such as traits, headers and request templates.
    free = {"study_create", "study_add_iteration", "person_create"}
    assert {tool.name for tool in agents if not tool.strict_json_schema} <= free
    claude = [async_mcp_tool(model, None).to_dict() for model in models]
    assert [tool["name"] for tool in claude] == names
    assert not [tool["name"] for tool in claude if {"oneOf", "anyOf", "allOf"} & set(tool["input_schema"])]
    print(f"{len(names)} tools converted by google-genai, openai-agents and anthropic")


if __name__ == "__main__":
    if sys.argv[1:]:
        convert(json.loads(Path(sys.argv[1]).read_text()))
    else:
        list_tools()
