"""Base of all requests. Strict: no unknown fields, no numbers in strings, no bools for ints."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
