"""MCP resources: documentation pages and transcripts. Tools return the same content."""

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
    """The content of a resource."""

    mime_type: str
    text: str


def _doc(_: Service, __: UUID, slug: str) -> Page:
    return Page(_MARKDOWN, documentation.get_doc(slug).content)


def _transcript(service: Service, workspace_id: UUID, participant_id: str) -> Page:
    transcript = participants.get_transcript(service, workspace_id, participant_id)
    return Page(_JSON, transcript.model_dump_json())


#: Address pattern -> reader; the group of the pattern identifies the object.
_READERS: dict[str, Callable[[Service, UUID, str], Page]] = {
    rf"{_DOCS}(.+)": _doc,
    r"understudy://participants/([^/]+)/transcript": _transcript,
}

TEMPLATES = (
    ResourceTemplate(
        name="docs",
        title="Page of the documentation",
        uri_template=f"{_DOCS}{{+slug}}",
        description="The page that docs_get returns; the slug has a slash, such as concepts/overview.",
        mime_type=_MARKDOWN,
    ),
    ResourceTemplate(
        name="transcript",
        title="Transcript of a participant",
        uri_template="understudy://participants/{participant_id}/transcript",
        description="The run as text, as participant_get with view transcript returns it.",
        mime_type=_JSON,
    ),
)


def listed() -> list[Resource]:
    """Returns the resources common to all workspaces: the documentation pages in reading order."""
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
    """Returns the content at `uri`. Raises NotFound, ValidationError."""
    for pattern, reader in _READERS.items():
        if match := re.fullmatch(pattern, uri):
            return reader(service, workspace_id, match[1])
    raise NotFound("No such resource.", suggestions=("List the resources and the resource templates.",))
