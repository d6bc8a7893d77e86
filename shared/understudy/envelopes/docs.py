"""Envelopes of docs_get. Source: contract section 6."""

from pydantic import Field

from understudy.envelopes.base import Envelope


class DocEntry(Envelope):
    """An item of the list of documentation pages."""

    slug: str = Field(description="Name of the page for docs_get.")
    title: str
    summary: str = Field(description="Summary in one or two sentences.")


class Doc(Envelope):
    slug: str
    title: str
    content: str = Field(description="Markdown. Links to other pages are relative and contain their slug.")
