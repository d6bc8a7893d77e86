"""Memory: the bounded state that the heuristic mind keeps from turn to turn."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from zlib import crc32

from understudy.domain.simulation import Json

_MAX_KEYS = 150
_MAX_SEARCHES = 8
#: Field -> JSON key in stored checkpoints, where they differ: workers of an older version read these keys.
_STORED_KEYS = {
    "repeated_links": "furniture",
    "instruction": "told",
    "instruction_step": "told_step",
    "instruction_tries": "told_tries",
    "instruction_done": "told_done",
    "instruction_page": "told_look",
}


def key_of(*parts: object) -> str:
    """Returns a short hash of `parts`; the same on every machine."""
    return f"{crc32('|'.join(map(str, parts)).encode('utf-8', 'replace')):08x}"


@dataclass(slots=True)
class Memory:
    """Holds the memory. `load` replaces invalid stored values by defaults and never raises."""

    turns: int = 0
    frustration: float = 0.0
    #: Page and element -> number of tries. The oldest entries are dropped first, also below.
    tried: dict[str, int] = field(default_factory=dict)
    #: Page -> number of visits.
    seen: dict[str, int] = field(default_factory=dict)
    #: Links of the previous page: a link that repeats on every page is navigation.
    repeated_links: list[str] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)
    #: Kind and reason of the last action, and key and content hash of its page.
    last_kind: str = ""
    last_reason: str = ""
    last_place: str = ""
    last_look: str = ""
    #: Largest share of the goal that one page has covered, from 0 to 1.
    best: float = 0.0
    in_cart: bool = False
    #: Number of pages to go back.
    depth: int = 0
    #: Key of the current instruction, its progress, and the tries so far.
    instruction: str = ""
    instruction_step: int = 0
    instruction_tries: int = 0
    instruction_done: bool = False
    #: Content hash of the page when the language picker was set.
    instruction_page: str = ""

    @classmethod
    def load(cls, stored: Json) -> Self:
        memory = cls()
        if not isinstance(stored, Mapping):
            return memory
        for name in cls.__slots__:
            default = getattr(memory, name)
            value = stored.get(_STORED_KEYS.get(name, name))
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
        self.repeated_links = self.repeated_links[-_MAX_KEYS * 2 :]
        self.searches = self.searches[-_MAX_SEARCHES:]
        self.frustration = round(self.frustration, 3)
        self.best = round(self.best, 3)
        return {_STORED_KEYS.get(name, name): getattr(self, name) for name in self.__slots__}

    def count(self, counts: dict[str, int], key: str) -> int:
        """Increments `key`, moves it to the end, and returns its new count."""
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
