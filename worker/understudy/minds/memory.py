"""Memory: what the heuristic mind carries from one turn to the next; small whatever the length of the run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from zlib import crc32

from understudy.domain.simulation import Json

_MAX_KEYS = 150
_MAX_SEARCHES = 8


def key_of(*parts: object) -> str:
    """A short name for something long; the same on every machine."""
    return f"{crc32('|'.join(map(str, parts)).encode('utf-8', 'replace')):08x}"


@dataclass(slots=True)
class Memory:
    """All of it. Whatever is odd in stored memory is forgotten, never an error."""

    turns: int = 0
    frustration: float = 0.0
    #: Page and element -> how often it was tried there. The oldest are forgotten first; so below.
    tried: dict[str, int] = field(default_factory=dict)
    #: Page -> how often it was seen.
    seen: dict[str, int] = field(default_factory=dict)
    #: Links of the page before: what is on every page is furniture.
    furniture: list[str] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)
    #: What was done last, on which page, and how that page looked.
    last_kind: str = ""
    last_reason: str = ""
    last_place: str = ""
    last_look: str = ""
    #: How much of what is looked for was on the best page yet, from 0 to 1.
    best: float = 0.0
    in_cart: bool = False
    #: Pages one can go back from.
    depth: int = 0
    #: The instruction this is about, how far it is carried out, how often it was tried.
    told: str = ""
    told_step: int = 0
    told_tries: int = 0
    told_done: bool = False
    #: How the page looked when the picker was set.
    told_look: str = ""

    @classmethod
    def load(cls, stored: Json) -> Self:
        memory = cls()
        if not isinstance(stored, Mapping):
            return memory
        for name in cls.__slots__:
            default = getattr(memory, name)
            value = stored.get(name)
            if isinstance(default, bool):
                fits = isinstance(value, bool)
            elif isinstance(default, int):
                fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1_000_000
            elif isinstance(default, float):
                fits = isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value < 1_000
            else:
                fits = isinstance(value, type(default))
            if fits:
                setattr(memory, name, _checked(value))
        return memory

    def as_json(self) -> dict[str, Any]:
        for counts in (self.tried, self.seen):
            for key in list(counts)[:-_MAX_KEYS]:
                del counts[key]
        self.furniture = self.furniture[-_MAX_KEYS * 2 :]
        self.searches = self.searches[-_MAX_SEARCHES:]
        self.frustration = round(self.frustration, 3)
        self.best = round(self.best, 3)
        return {name: getattr(self, name) for name in self.__slots__}

    def count(self, counts: dict[str, int], key: str) -> int:
        """Count `key` once more, and as the latest; how often that makes."""
        counts[key] = counts.pop(key, 0) + 1
        return counts[key]


def _checked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            str(key)[:20]: count
            for key, count in list(value.items())[-_MAX_KEYS:]
            if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 1_000_000
        }
    if isinstance(value, list):
        return [item[:100] for item in value[: _MAX_KEYS * 2] if isinstance(item, str)]
    return value[:100] if isinstance(value, str) else value
