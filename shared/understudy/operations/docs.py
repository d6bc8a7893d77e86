"""The operations that read the documentation."""

from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry
from understudy.operations.operation import Operation, Tier
from understudy.operations.queries import ListQuery, NoQuery

DOCS_LIST = Operation(
    "docs_list",
    "GET",
    "/v1/docs",
    Tier.READ_ONLY,
    ("docs", "read"),
    "List the documentation",
    "List the pages of the documentation, in reading order.",
    ListQuery,
    Page[DocEntry],
    example={"limit": 20},
)

DOCS_GET = Operation(
    "docs_get",
    "GET",
    "/v1/docs/{slug:path}",
    Tier.READ_ONLY,
    ("docs", "read"),
    "Get a page of the documentation",
    "Get one page of the documentation as Markdown, such as concepts/overview.",
    NoQuery,
    Doc,
)
