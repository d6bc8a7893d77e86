"""What asking language models took. Source: contract section 6."""

from pydantic import Field, field_validator

from understudy.envelopes.base import Envelope, optional_field

USED = "What asking language models took; absent where none was asked."


class Usage(Envelope):
    """What asking language models took."""

    calls: int = Field(description="Answers asked for, tries that failed included.")
    input_tokens: int = Field(description="Tokens that models read.")
    output_tokens: int = Field(description="Tokens that they wrote.")
    seconds: float = Field(description="From question to answer, waits for a free place not counted.")
    cost: float | None = optional_field("By the prices that are set for the model; absent without.")
    model: str | None = optional_field("Of one interaction: who was asked.")

    @field_validator("seconds", "cost")
    @classmethod
    def _round(cls, value: float | None) -> float | None:
        # Sums of what was rounded before.
        return value if value is None else round(value, 9)
