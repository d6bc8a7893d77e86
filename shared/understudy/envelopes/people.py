"""People, and the panels that they are exported and imported as. Source: contract section 6."""

from typing import Any
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Time


class Person(Envelope):
    id: UUID
    alias: str = Field(description="Its short name.")
    name: str
    age: int
    country: str = Field(description="A name or a code.")
    language: str = Field(description="A name or a code.")
    traits: dict[str, Any] = Field(description="Traits by name; numbers range from 0 to 1.")
    bio: str
    created_at: Time = Field(description="Creation time.")


class People(Envelope):
    """The answer to creating several people."""

    items: list[Person]


class Profile(Envelope):
    """A person without what belongs to a workspace: it can be made anew anywhere."""

    name: str
    age: int
    country: str = Field(description="A name or a code.")
    language: str = Field(description="A name or a code.")
    traits: dict[str, Any] = Field(description="Traits by name; numbers range from 0 to 1.")
    bio: str


class Panel(Envelope):
    """The answer to an export: what `POST /v1/people` takes."""

    people: list[Profile]
