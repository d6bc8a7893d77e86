"""The tools of the MCP server as Markdown, from what it lists."""

from tests.pages.rest_tables import fields_table, without_test_plugins
from tests.pages.tables import table
from understudy.mcp.schemas import input_schema
from understudy.operations.tools import TOOLS, Tool
from understudy.settings import Settings


def tools() -> str:
    """A table of all tools, and a section for each: what it does and what it takes."""
    overview = table(
        ("tool", "tier", "tags"),
        [(f"`{tool.name}`", str(tool.tier), ", ".join(tool.operation.tags)) for tool in TOOLS],
    )
    return "\n".join((overview, *map(_section, TOOLS)))


def _section(tool: Tool) -> str:
    arguments = fields_table(without_test_plugins(input_schema(tool, Settings())))
    return "\n\n".join((f"### {tool.name}", tool.description, arguments))
