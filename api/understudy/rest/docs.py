"""The documentation over REST."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from understudy import documentation
from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry
from understudy.operations.requests import DEFAULT_PAGE
from understudy.rest.inputs import Cursor, Limit

router = APIRouter(tags=["docs"])

#: Any text: the service tells what is wrong with it, and which page may have been meant.
Slug = Annotated[str, Path(description="A page's slug, like `concepts/overview`.")]


@router.get("/docs", summary="docs_get (list)")
def docs_list(cursor: Cursor = None, limit: Limit = DEFAULT_PAGE) -> Page[DocEntry]:
    """All pages of the documentation, in the order to read them."""
    return documentation.list_docs(cursor, limit)


@router.get("/docs/{slug:path}", summary="docs_get")
def docs_get(slug: Slug) -> Doc:
    """One page, as Markdown."""
    if not slug:
        # A slash too many makes an unknown route here as everywhere.
        raise HTTPException(404)
    return documentation.get_doc(slug)
