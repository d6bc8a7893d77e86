"""Character: the leanings of a person, and the numbers that make two alike go different ways."""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

from understudy.domain.simulation import Json, Person

_64_BITS = (1 << 64) - 1


class Personality:
    """A person's traits, each from 0 to 1 (0.5 where nothing is known), and their own chance."""

    __slots__ = ("_key", "curiosity", "patience", "tech_savviness", "thoroughness")

    def __init__(self, person: Person, seed: int) -> None:
        traits = person.traits
        self.patience = trait_value(traits, "patience")
        self.curiosity = trait_value(traits, "curiosity")
        self.thoroughness = trait_value(traits, "thoroughness")
        self.tech_savviness = trait_value(traits, "tech_savviness")
        who = f"{person.name}|{person.age}|{seed}".encode("utf-8", "replace")
        self._key = hashlib.blake2b(who, digest_size=32).digest()

    @property
    def frustration_limit(self) -> float:
        """How much frustration this person takes before giving up."""
        return 0.9 + 1.9 * self.patience + 0.2 * self.random_for("endurance")

    @property
    def min_choice_score(self) -> float:
        """Below this nothing seems worth trying once more."""
        return -0.8 - 1.6 * self.patience

    def random_for(self, *question: object) -> float:
        """A number from 0 up to 1: the same for the same person, seed and question, on every machine."""
        asked = "|".join(map(str, question)).encode("utf-8", "replace")
        return int.from_bytes(hashlib.blake2b(asked, digest_size=6, key=self._key).digest()) / (1 << 48)

    def jitter(self, turn: int) -> Callable[[str], float]:
        """As `random_for`, but quick, for the many links of a page; asks by their hexadecimal keys."""
        salt = int(self.random_for(turn, "jitter") * (1 << 48))

        def chance(key: str) -> float:
            mixed = (int(key, 16) ^ salt) * 0x9E3779B97F4A7C15 & _64_BITS
            mixed = (mixed ^ mixed >> 31) * 0xBF58476D1CE4E5B9 & _64_BITS
            return (mixed >> 16) / (1 << 48)

        return chance


def trait_value(traits: Json, name: str) -> float:
    """How far somebody leans that way, from 0 to 1; 0.5 where nothing usable is said."""
    value: Any = traits.get(name) if isinstance(traits, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0.5
    return min(max(float(value), 0.0), 1.0)
