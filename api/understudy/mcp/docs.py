"""The tool of the documentation."""

from understudy import documentation
from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry
from understudy.mcp.arguments import DocsGetArguments
from understudy.mcp.tool import Tier, tool
from understudy.mcp.tool_call import Call


@tool("Read the documentation", Tier.READ_ONLY, "docs", "read")
def docs_get(call: Call, request: DocsGetArguments) -> Doc | Page[DocEntry]:  # noqa: ARG001 - it is the same for everybody
    """Read a page of the documentation, or without `slug` list all pages with what each is about.

    The answer's `content` is Markdown. When in doubt how runs, waits, cancel, extend or errors behave, it is
    here: "concepts/overview" to begin with, "reference/long-running-jobs" about waiting.
    """
    if request.slug is None:
        return documentation.list_docs(request.cursor, request.limit)
    return documentation.get_doc(request.slug)
