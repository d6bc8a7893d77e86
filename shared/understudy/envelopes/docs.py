"""The answers of docs_get, field by field. Source: contract section 6."""

from pydantic import Field

from understudy.envelopes.base import Envelope


class DocEntry(Envelope):
    """A page of the documentation in the list of all."""

    slug: str = Field(description="Names the page in docs_get.")
    title: str
    summary: str = Field(description="What it tells, in a sentence or two.")


class Doc(Envelope):
    slug: str
    title: str
    content: str = Field(description="Markdown. Links between pages are relative and show the page's slug.")
