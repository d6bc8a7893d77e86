"""docs_get: the pages for users, out of the folder `docs`. Source: contract section 6.

A page's title is its first line, its summary the paragraph below that.
"""

from functools import cache
from pathlib import Path

from understudy.domain.cursors import decode_cursor, encode_cursor
from understudy.domain.doc_slugs import check_slug, did_you_mean
from understudy.domain.errors import NotFound
from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry

#: Where the pages are: inside the package once a wheel is installed, else in the checkout that runs.
_FOLDERS = (Path(__file__).parent / "docs", Path(__file__).parents[2] / "docs")
FOLDER = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
#: Every page, in the order to read them.
SLUGS = (
    "concepts/overview",
    "concepts/participants-and-status",
    "concepts/cancelling-a-simulation",
    "concepts/extending-a-simulation",
    "concepts/asks",
    "guides/first-study",
    "guides/people",
    "guides/chatbots",
    "guides/from-a-web-app",
    "guides/coding-agents",
    "guides/language-models",
    "reference/long-running-jobs",
    "reference/errors",
    "reference/rest",
    "reference/events",
    "reference/cli",
    "reference/mcp",
)
#: What tells cursors of this list from those of others.
_LIST = "docs"


def list_docs(cursor: str | None = None, limit: int = len(SLUGS)) -> Page[DocEntry]:
    """A page of the list of pages, in the order to read them. Raises ValidationError."""
    entries = [entry for entry, _ in _pages().values()]
    first = 0 if cursor is None else int(decode_cursor(cursor, _LIST))
    items = entries[first : first + limit]
    more = first + limit < len(entries)
    return Page(items=items, next_cursor=encode_cursor(str(first + limit), _LIST) if more else None)


def get_doc(slug: str) -> Doc:
    """One page. Raises ValidationError or NotFound, both naming pages that come near."""
    pages = _pages()
    check_slug(slug, pages)
    if slug not in pages:
        raise NotFound(f"There is no page {slug}.", suggestions=did_you_mean(slug, pages))
    entry, content = pages[slug]
    return Doc(slug=slug, title=entry.title, content=content)


@cache
def _pages() -> dict[str, tuple[DocEntry, str]]:
    """All pages, read once: a slug names an entry here and is never made a path."""
    pages = {}
    for slug in SLUGS:
        content = (FOLDER / f"{slug}.md").read_text(encoding="utf-8")
        title, summary = content.split("\n\n", 2)[:2]
        entry = DocEntry(slug=slug, title=title.removeprefix("# "), summary=" ".join(summary.split()))
        pages[slug] = entry, content
    return pages
