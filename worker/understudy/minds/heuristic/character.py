"""Personality: a person's traits, and seeded random numbers that make similar people differ."""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

from understudy.domain.simulation import Json, Person

_64_BITS = (1 << 64) - 1


class Personality:
    """Holds a person's traits, each from 0 to 1 (0.5 if unknown), and a private random source."""

    __slots__ = ("_key", "curiosity", "patience", "tech_savviness", "thoroughness")

    def __init__(self, person: Person, seed: int) -> None:
        traits = person.traits
        self.patience = trait_value(traits, "patience")
        self.curiosity = trait_value(traits, "curiosity")
        self.thoroughness = trait_value(traits, "thoroughness")
        self.tech_savviness = trait_value(traits, "tech_savviness")
        identity = f"{person.name}|{person.age}|{seed}".encode("utf-8", "replace")
        self._key = hashlib.blake2b(identity, digest_size=32).digest()

    @property
    def frustration_limit(self) -> float:
        """The frustration at which this person gives up."""
        return 0.9 + 1.9 * self.patience + 0.2 * self.random_for("endurance")

    @property
    def min_choice_score(self) -> float:
        """The minimum score of a choice; the person tries nothing below it."""
        return -0.8 - 1.6 * self.patience

    def random_for(self, *question: object) -> float:
        """Returns a number in [0, 1), the same for the same person, seed and question on every machine."""
        asked = "|".join(map(str, question)).encode("utf-8", "replace")
        return int.from_bytes(hashlib.blake2b(asked, digest_size=6, key=self._key).digest()) / (1 << 48)

    def jitter(self, turn: int) -> Callable[[str], float]:
        """Returns a fast variant of `random_for` for the links of a page, called with a hexadecimal key."""
        salt = int(self.random_for(turn, "jitter") * (1 << 48))

        def chance(key: str) -> float:
            mixed = (int(key, 16) ^ salt) * 0x9E3779B97F4A7C15 & _64_BITS
            mixed = (mixed ^ mixed >> 31) * 0xBF58476D1CE4E5B9 & _64_BITS
            return (mixed >> 16) / (1 << 48)

        return chance


def trait_value(traits: Json, name: str) -> float:
    """Returns a trait from 0 to 1; 0.5 if it is missing or invalid."""
    value: Any = traits.get(name) if isinstance(traits, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0.5
    return min(max(float(value), 0.0), 1.0)
