"""Pages of the documentation and transcripts as MCP resources. Tools reach the same."""

import re
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from mcp_types import Resource, ResourceTemplate

from understudy import documentation
from understudy.domain.errors import NotFound
from understudy.operations.requests import MAX_PAGE
from understudy.service import Service, participants

_MARKDOWN = "text/markdown"
_JSON = "application/json"
_DOCS = "understudy://docs/"


class Page(NamedTuple):
    """What is read at an address."""

    mime_type: str
    text: str


def _doc(_: Service, __: UUID, slug: str) -> Page:
    return Page(_MARKDOWN, documentation.get_doc(slug).content)


def _transcript(service: Service, workspace_id: UUID, participant_id: str) -> Page:
    transcript = participants.get_transcript(service, workspace_id, participant_id)
    return Page(_JSON, transcript.model_dump_json())


#: Address -> what reads it, given the part of the address that says which.
_READERS: dict[str, Callable[[Service, UUID, str], Page]] = {
    rf"{_DOCS}(.+)": _doc,
    r"understudy://participants/([^/]+)/transcript": _transcript,
}

TEMPLATES = (
    ResourceTemplate(
        name="docs",
        title="Page of the documentation",
        uri_template=f"{_DOCS}{{+slug}}",
        description="As docs_get gives it; the slug has a slash in it, such as concepts/overview.",
        mime_type=_MARKDOWN,
    ),
    ResourceTemplate(
        name="transcript",
        title="Transcript of a participant",
        uri_template="understudy://participants/{participant_id}/transcript",
        description="The whole run in words, as participant_get gives it with view transcript.",
        mime_type=_JSON,
    ),
)


def listed() -> list[Resource]:
    """Every resource that is there for all: the pages of the documentation, in the order to read them."""
    return [
        Resource(
            name=entry.slug,
            title=entry.title,
            uri=f"{_DOCS}{entry.slug}",
            description=entry.summary,
            mime_type=_MARKDOWN,
        )
        for entry in documentation.list_docs(None, MAX_PAGE).items
    ]


def read(service: Service, workspace_id: UUID, uri: str) -> Page:
    """What is at `uri`. Raises NotFound, ValidationError."""
    for pattern, reader in _READERS.items():
        if match := re.fullmatch(pattern, uri):
            return reader(service, workspace_id, match[1])
    raise NotFound(
        "There is no such resource.",
        suggestions=("Ask for the lists of resources and of resource templates.",),
    )
