"""Serves the documentation over REST."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from understudy import documentation
from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry
from understudy.operations.requests import DEFAULT_PAGE
from understudy.rest.inputs import Cursor, Limit

router = APIRouter(tags=["docs"])

#: Any text: the service checks it and suggests similar slugs.
Slug = Annotated[str, Path(description="Slug of a page, such as `concepts/overview`.")]


@router.get("/docs", summary="docs_get (list)")
def docs_list(cursor: Cursor = None, limit: Limit = DEFAULT_PAGE) -> Page[DocEntry]:
    """Lists the pages of the documentation in reading order."""
    return documentation.list_docs(cursor, limit)


@router.get("/docs/{slug:path}", summary="docs_get")
def docs_get(slug: Slug) -> Doc:
    """Returns one page as Markdown."""
    if not slug:
        # A trailing slash makes an unknown route, as on every other path.
        raise HTTPException(404)
    return documentation.get_doc(slug)
