"""The body of every error. Source: contract section 7."""

from pydantic import Field

from understudy.envelopes.base import Envelope


class ErrorBody(Envelope):
    error: str = Field(description="What is wrong and what would be right.")
    error_code: str = Field(description="For programs; never changes.")
    retryable: bool = Field(description="May the same request, sent again, succeed?")
    suggestions: list[str] = Field(description="What to do next; may be empty.")
