"""Transcripts as MCP resources, for clients that read those. Tools reach the same."""

import re
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from mcp_types import ResourceTemplate

from api.service import Service, participants
from shared.domain.errors import NotFound


class Page(NamedTuple):
    """What is read at an address."""

    mime_type: str
    text: str


def _transcript(service: Service, workspace_id: UUID, participant_id: str) -> Page:
    transcript = participants.get_transcript(service, workspace_id, participant_id)
    return Page("application/json", transcript.model_dump_json())


#: Address -> what reads it, given the part of the address that says which.
_READERS: dict[str, Callable[[Service, UUID, str], Page]] = {
    r"understudy://participants/([^/]+)/transcript": _transcript,
}

TEMPLATES = (
    ResourceTemplate(
        name="transcript",
        title="Transcript of a participant",
        uri_template="understudy://participants/{participant_id}/transcript",
        description="The whole run in words, as participant_get gives it with view transcript.",
        mime_type="application/json",
    ),
)


def read(service: Service, workspace_id: UUID, uri: str) -> Page:
    """What is at `uri`. Raises NotFound, ValidationError."""
    for pattern, reader in _READERS.items():
        if match := re.fullmatch(pattern, uri):
            return reader(service, workspace_id, match[1])
    raise NotFound(
        "There is no such resource.",
        suggestions=("Ask for the lists of resources and of resource templates.",),
    )
