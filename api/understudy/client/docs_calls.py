"""The Python client's calls for the documentation."""

from urllib.parse import quote

from understudy.client.transport import Transport
from understudy.domain.doc_slugs import MAX_SLUG_LENGTH
from understudy.envelopes.base import Page
from understudy.envelopes.docs import Doc, DocEntry


class DocsCalls:
    """A part of `understudy.client.client.Understudy`."""

    _transport: Transport

    def docs_list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[DocEntry]:
        """The pages of the documentation, in the order to read them."""
        return self._transport.get(Page[DocEntry], "/v1/docs", {"limit": limit, "cursor": cursor})

    def docs_get(self, slug: str) -> Doc:
        """A page of the documentation, as Markdown. What is wrong with a slug is the server's to say."""
        # No dot segments, nothing that ends a path; one that is too long already is not made longer.
        path = quote(slug[: MAX_SLUG_LENGTH + 1], errors="replace").replace(".", "%2E")
        return self._transport.get(Doc, f"/v1/docs/{path}")
