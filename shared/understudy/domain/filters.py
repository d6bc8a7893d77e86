"""Filters: conditions that select people of a workspace."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from understudy.domain.errors import ValidationError

MAX_TERMS = 20
MAX_TERM_LENGTH = 200
#: Maximum words of a search; each must match.
MAX_WORDS = 10

_TRAIT = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,63})\s*(?:(<=|>=|<|>|=)\s*(\S(?:.*\S)?))?")
_NUMBER = re.compile(r"-?\d{1,12}(?:\.\d{1,12})?")


class TraitCondition(NamedTuple):
    """One condition on a trait: a trait of that name exists, or its value satisfies the comparison."""

    name: str
    #: <, <=, >, >= or =; empty: the trait exists.
    operator: str = ""
    #: The value to compare with, as written.
    text: str = ""

    @property
    def number(self) -> float | None:
        """Returns `text` as a number; None if it is not a number."""
        return float(self.text) if _NUMBER.fullmatch(self.text) else None

    @classmethod
    def parse(cls, condition: str) -> Self:
        """Parses a condition such as `patience<0.3`. Raises ValidationError."""
        match = _TRAIT.fullmatch(condition.strip()) if len(condition) <= MAX_TERM_LENGTH else None
        if match is None:
            raise ValidationError(
                "trait must look like patience<0.3, accessibility=no_pointer, or accessibility: "
                f"a name, optionally <, <=, >, >= or = and a value, at most {MAX_TERM_LENGTH} characters."
            )
        parsed = cls(match[1], match[2] or "", match[3] or "")
        if parsed.operator not in ("", "=") and parsed.number is None:
            raise ValidationError(f"trait: {parsed.name}{parsed.operator} needs a plain number, such as 0.3.")
        return parsed


@dataclass(frozen=True, slots=True)
class PeopleFilter:
    """Selects the people for whom all set conditions hold; without conditions, all people."""

    age_min: int | None = None
    age_max: int | None = None
    #: One of these, in any case.
    country: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    traits: tuple[TraitCondition, ...] = ()
    #: Each must occur in name, bio, country or language.
    words: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        age_min: int | None = None,
        age_max: int | None = None,
        country: Sequence[str] | None = None,
        language: Sequence[str] | None = None,
        trait: Sequence[str] | None = None,
        search: str | None = None,
    ) -> Self:
        """Returns the filter of a caller's parameters. Raises ValidationError."""
        if age_min is not None and age_max is not None and age_min > age_max:
            raise ValidationError(f"age_min must be at most age_max ({age_max}); got {age_min}.")
        for name, terms in (("country", country), ("language", language), ("trait", trait)):
            if len(terms or ()) > MAX_TERMS:
                raise ValidationError(f"{name} takes at most {MAX_TERMS} values.")
            if any(not term.strip() or len(term) > MAX_TERM_LENGTH for term in terms or ()):
                raise ValidationError(f"{name}: each value must be a text of 1 to {MAX_TERM_LENGTH} characters.")
        words = (search or "").split()
        if len(words) > MAX_WORDS or len(search or "") > MAX_TERM_LENGTH:
            raise ValidationError(f"search takes at most {MAX_WORDS} words, {MAX_TERM_LENGTH} characters in total.")
        return cls(
            age_min,
            age_max,
            tuple(term.strip() for term in country or ()),
            tuple(term.strip() for term in language or ()),
            tuple(map(TraitCondition.parse, trait or ())),
            tuple(words),
        )

    @property
    def is_empty(self) -> bool:
        return self == PeopleFilter()

    @property
    def cursor_key(self) -> str:
        """Returns a text that identifies this filter; empty without conditions."""
        if self.is_empty:
            return ""
        return json.dumps([self.age_min, self.age_max, self.country, self.language, self.traits, self.words])


NO_FILTER = PeopleFilter()
