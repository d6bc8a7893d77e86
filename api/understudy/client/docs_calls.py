"""The client methods for the documentation."""

from urllib.parse import quote

from understudy.client.transport import Transport
from understudy.domain.doc_slugs import MAX_SLUG_LENGTH
from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry


class DocsCalls:
    """The part of `understudy.client.client.Understudy` for the documentation."""

    _transport: Transport

    def docs_list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[DocEntry]:
        """Returns the pages of the documentation in reading order."""
        return self._transport.get(Page[DocEntry], "/v1/docs", {"limit": limit, "cursor": cursor})

    def docs_get(self, slug: str) -> Doc:
        """Returns a page as Markdown. The server validates the slug."""
        # Escapes dot segments and path delimiters; one character above the limit is enough for the error.
        path = quote(slug[: MAX_SLUG_LENGTH + 1], errors="replace").replace(".", "%2E")
        return self._transport.get(Doc, f"/v1/docs/{path}")
