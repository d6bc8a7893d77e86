"""The body of every error. Source: contract section 7."""

from pydantic import Field

from understudy.envelopes.base import Envelope


class ErrorBody(Envelope):
    error: str = Field(description="Problem and how to fix it.")
    error_code: str = Field(description="Stable code for programs.")
    retryable: bool = Field(description="Whether the same request may succeed if sent again.")
    suggestions: list[str] = Field(description="Next steps; may be empty.")
