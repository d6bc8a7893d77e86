"""Implements docs_get: serves the user pages from the folder `docs`. Source: contract section 6.

A page's title is its first line, its summary the paragraph below that.
"""

from functools import cache
from pathlib import Path

from understudy.domain.cursors import decode_cursor, encode_cursor
from understudy.domain.doc_slugs import check_slug, did_you_mean
from understudy.domain.errors import NotFound
from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry

#: Folder of the pages: inside the package if a wheel is installed, else in the checkout.
_FOLDERS = (Path(__file__).parent / "docs", Path(__file__).parents[2] / "docs")
FOLDER = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
#: All pages in reading order.
SLUGS = (
    "concepts/overview",
    "concepts/participants-and-status",
    "concepts/cancelling-a-simulation",
    "concepts/extending-a-simulation",
    "concepts/asks",
    "concepts/fair-shares",
    "guides/first-study",
    "guides/people",
    "guides/chatbots",
    "guides/from-a-web-app",
    "guides/django",
    "guides/fastapi",
    "guides/flask",
    "guides/retries",
    "guides/webhooks",
    "guides/browsers",
    "guides/coding-agents",
    "guides/language-models",
    "reference/long-running-jobs",
    "reference/errors",
    "reference/rest",
    "reference/events",
    "reference/cli",
    "reference/mcp",
)
#: Name that binds a cursor to this list.
_LIST = "docs"


def list_docs(cursor: str | None = None, limit: int = len(SLUGS)) -> Page[DocEntry]:
    """Returns one page of the list, in reading order. Raises ValidationError for an invalid cursor."""
    entries = [entry for entry, _ in _pages().values()]
    first = 0 if cursor is None else int(decode_cursor(cursor, _LIST))
    items = entries[first : first + limit]
    has_more = first + limit < len(entries)
    return Page(items=items, next_cursor=encode_cursor(str(first + limit), _LIST) if has_more else None)


def get_doc(slug: str) -> Doc:
    """Returns one page. Raises ValidationError or NotFound, both with similar slugs as suggestions."""
    pages = _pages()
    check_slug(slug, pages)
    if slug not in pages:
        raise NotFound(f"There is no page {slug}.", suggestions=did_you_mean(slug, pages))
    entry, content = pages[slug]
    return Doc(slug=slug, title=entry.title, content=content)


@cache
def _pages() -> dict[str, tuple[DocEntry, str]]:
    """Returns all pages, read once: a slug only selects an entry and never becomes a path."""
    pages = {}
    for slug in SLUGS:
        content = (FOLDER / f"{slug}.md").read_text(encoding="utf-8")
        title, summary = content.split("\n\n", 2)[:2]
        entry = DocEntry(slug=slug, title=title.removeprefix("# "), summary=" ".join(summary.split()))
        pages[slug] = entry, content
    return pages
