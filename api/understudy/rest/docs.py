"""The documentation over REST."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from api.requests import DEFAULT_PAGE
from api.rest.inputs import Cursor, Limit
from api.service import docs
from shared.doc_envelopes import Doc, DocEntry
from shared.envelopes import Page

router = APIRouter(tags=["docs"])

#: Any text: the service tells what is wrong with it, and which page may have been meant.
Slug = Annotated[str, Path(description="A page's slug, like `concepts/overview`.")]


@router.get("/docs", summary="docs_get (list)")
def docs_list(cursor: Cursor = None, limit: Limit = DEFAULT_PAGE) -> Page[DocEntry]:
    """All pages of the documentation, in the order to read them."""
    return docs.list_docs(cursor, limit)


@router.get("/docs/{slug:path}", summary="docs_get")
def docs_get(slug: Slug) -> Doc:
    """One page, as Markdown."""
    if not slug:
        # A slash too many makes an unknown route here as everywhere.
        raise HTTPException(404)
    return docs.get_doc(slug)
