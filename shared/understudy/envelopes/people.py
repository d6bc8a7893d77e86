"""Envelopes of people and panels. Source: contract section 6."""

from typing import Any
from uuid import UUID

from pydantic import Field

from understudy.envelopes.base import Envelope, Time


class Person(Envelope):
    id: UUID
    alias: str = Field(description="Short id.")
    name: str
    age: int
    country: str = Field(description="Name or code.")
    language: str = Field(description="Name or code.")
    traits: dict[str, Any] = Field(description="Traits by name; numbers range from 0 to 1.")
    bio: str
    created_at: Time = Field(description="Creation time.")


class People(Envelope):
    """The response to a request that creates people."""

    items: list[Person]


class Profile(Envelope):
    """A person without workspace fields: any workspace can import it."""

    name: str
    age: int
    country: str = Field(description="Name or code.")
    language: str = Field(description="Name or code.")
    traits: dict[str, Any] = Field(description="Traits by name; numbers range from 0 to 1.")
    bio: str


class Panel(Envelope):
    """The response to an export; `POST /v1/people` accepts it as body."""

    people: list[Profile]
