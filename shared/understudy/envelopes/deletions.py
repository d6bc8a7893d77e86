"""Envelope of the operations that delete. Source: contract section 6."""

from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope


class Deleted(Envelope):
    """An object that no longer exists."""

    id: UUID
    alias: str = Field(description="Short id that it had; a later object may get it.")
    participant_count: int = Field(description="Participants that were deleted with it.")
