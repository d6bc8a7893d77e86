"""Ids and aliases: `t-1f3` is the participant whose UUID starts with 1f3. Source: contract section 1."""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from understudy.domain.errors import ValidationError

MIN_DIGITS = 3

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Kind(StrEnum):
    """The kind of an id; the value is the alias prefix."""

    WORKSPACE = "w"
    STUDY = "s"
    ITERATION = "i"
    PARTICIPANT = "t"
    ASK = "a"
    PERSON = "tp"
    WEBHOOK = "wh"


#: Synonyms of prefixes: accepted in input, never assigned.
_SYNONYMS = {"pt": "t", "p": "tp"}
_ALIAS = re.compile(r"([a-z]{1,2})-([0-9a-f]{3,32})")


class Ref(NamedTuple):
    """A well-formed id from a request: exactly one of `uuid` and `alias` is set."""

    kind: Kind
    uuid: UUID | None
    alias: str | None


def parse_ref(kind: Kind, text: str, parameter: str) -> Ref:
    """Parses a UUID (hyphenated, any case) or an alias (lower case) of `kind`.

    Raises ValidationError with `parameter` if it is malformed or has another kind's prefix.
    """
    if _UUID.fullmatch(text):
        return Ref(kind, UUID(text), None)
    if match := _ALIAS.fullmatch(text):
        prefix = _SYNONYMS.get(match[1], match[1])
        if prefix == kind:
            return Ref(kind, None, f"{prefix}-{match[2]}")
    raise ValidationError(
        f"{parameter} must be a UUID or an alias like {kind}-1f3",
        suggestions=(f"Copy the id of the {kind.name.lower()} from the answer that returned it.",),
    )


def alias_candidates(kind: Kind, ids: Iterable[UUID], digits: int) -> Iterator[str]:
    """Returns the aliases that `ids` would have with `digits` hex digits."""
    return (f"{kind}-{id_.hex[:digits]}" for id_ in ids)
