"""The envelope of language model usage. Source: contract section 6."""

from pydantic import Field, field_validator

from understudy.envelopes.base import Envelope, optional_field

USED = "Language model usage; absent if no model was called."


class Usage(Envelope):
    """Usage of language models."""

    calls: int = Field(description="Model calls, failed ones included.")
    input_tokens: int = Field(description="Tokens that models read.")
    output_tokens: int = Field(description="Tokens that models wrote.")
    seconds: float = Field(description="Seconds from call to answer, waits for a slot excluded.")
    cost: float | None = optional_field("Cost by the prices of the model; absent without prices.")
    model: str | None = optional_field("Model that was called; only in the usage of one interaction.")

    @field_validator("seconds", "cost")
    @classmethod
    def _round(cls, value: float | None) -> float | None:
        # Sums of rounded values have float errors.
        return value if value is None else round(value, 9)
