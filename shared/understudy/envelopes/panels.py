"""Panels as they leave and come back."""

from typing import Any

from pydantic import Field

from shared.envelopes import Envelope


class Profile(Envelope):
    """A person without what belongs to a workspace: it can be made anew anywhere."""

    name: str
    age: int
    country: str = Field(description="A name or a code.")
    language: str = Field(description="A name or a code.")
    traits: dict[str, Any] = Field(description="Leanings by name; numbers go from 0 to 1.")
    bio: str


class Panel(Envelope):
    """The answer to an export: what `POST /v1/people` takes."""

    people: list[Profile]
