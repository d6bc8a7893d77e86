"""The MCP tool for the documentation."""

from understudy import documentation
from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry
from understudy.mcp.arguments import DocsGetArguments
from understudy.mcp.tool import Tier, tool
from understudy.mcp.tool_call import Call


@tool("Read the documentation", Tier.READ_ONLY, "docs", "read")
def docs_get(call: Call, request: DocsGetArguments) -> Doc | Page[DocEntry]:  # noqa: ARG001 - the same for all callers
    """Get a page of the documentation; omit `slug` to list all pages with a summary.

    The page's `content` is Markdown. It explains runs, waits, cancel, extend and errors: start with
    "concepts/overview"; for waits read "reference/long-running-jobs".
    """
    if request.slug is None:
        return documentation.list_docs(request.cursor, request.limit)
    return documentation.get_doc(request.slug)
