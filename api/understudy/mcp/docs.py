"""The tool of the documentation."""

from api.service import docs
from api.tools.arguments import DocsGetArguments
from api.tools.call import Call
from api.tools.tool import Tier, tool
from shared.doc_envelopes import Doc, DocEntry
from shared.envelopes import Page


@tool("Read the documentation", Tier.READ_ONLY, "docs", "read")
def docs_get(call: Call, request: DocsGetArguments) -> Doc | Page[DocEntry]:  # noqa: ARG001 - it is the same for everybody
    """Read a page of the documentation, or without `slug` list all pages with what each is about.

    The answer's `content` is Markdown. When in doubt how runs, waits, cancel, extend or errors behave, it is
    here: "concepts/overview" to begin with, "reference/long-running-jobs" about waiting.
    """
    if request.slug is None:
        return docs.list_docs(request.cursor, request.limit)
    return docs.get_doc(request.slug)
