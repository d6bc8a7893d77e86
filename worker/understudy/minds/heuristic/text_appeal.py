"""Impressions: how a person likes a piece of text, judged by words, style and taste."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from understudy.domain.simulation import Person
from understudy.minds.heuristic.character import Personality, trait_value
from understudy.minds.heuristic.goal_parser import Goal
from understudy.minds.heuristic.memory import key_of
from understudy.minds.heuristic.word_stems import stem

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_SENTENCE_END = re.compile(r"[.!?…\u3002\uff01\uff1f]+|\n{2,}")
_SHOUTED = re.compile(r"!{2,}|\b[A-ZÄÖÜ]{4,}\b")

#: Trait -> words that people with a high value like; the others mind them little.
_TRAIT_KEYWORDS = {
    "frugality": "price cheap free save saving discount offer deal euro dollar percent budget cost value",
    "caution": "secure safe security privacy guarantee warranty refund return trust certified cancel terms",
    "curiosity": "new discover story imagine explore learn why how secret behind inspire unusual",
    "decisiveness": "now today quick instant simple one ready fast minute",
    "thoroughness": "detail compare material size measure test review data fact exact specification",
    "tech_savviness": "app online api software device digital data update integration automatic smart",
}
_TRAIT_STEMS = {trait: frozenset(map(stem, words.split())) for trait, words in _TRAIT_KEYWORDS.items()}
_SHORT = frozenset(map(stem, ("short", "shorter", "shortest", "brief", "concise", "crisp")))
_PLAIN = frozenset(map(stem, ("simple", "simpler", "plain", "easy", "easier", "clear", "clearer")))
_NAMED = re.compile(r"\b(?:variant|option|pick|choose|take|prefer|text)\s+[\"'“]?([A-J])\b(?!['\u2019])")

#: Above these words per sentence or letters per word, a text is hard to read.
_LONG_SENTENCE, _LONG_WORD = 14, 5.5


class Impression(NamedTuple):
    """The liking of a piece, about -1 to 1, and the reason, a key of the thoughts in `opinions`."""

    liking: float
    reason: str
    #: Words that caused it, if any.
    words: tuple[str, ...] = ()


class TextEvaluator:
    """Evaluates texts for one person, a question, and an optional instruction that overrides it."""

    def __init__(self, person: Person, character: Personality, question: Goal, wish: Goal | None) -> None:
        self._character = character
        self._question = question
        self._instruction = wish
        self._traits = {trait: trait_value(person.traits, trait) for trait in _TRAIT_KEYWORDS}
        needs = person.traits.get("accessibility", ()) if isinstance(person.traits, Mapping) else ()
        #: Cost of reading for this person.
        self._effort = 0.3 + 0.5 * (1 - character.thoroughness)
        if isinstance(needs, (list, tuple)) and {"dyslexia", "screen_reader"} & {*map(str, needs)}:
            self._effort += 0.4
        wishes = wish.words.keys() if wish else frozenset()
        self._wants_short, self._wants_plain = bool(_SHORT & wishes), bool(_PLAIN & wishes)

    def impression(self, text: str) -> Impression:
        """Returns the impression of one piece; it depends only on the text."""
        said = [stem(word) for word in _WORD.findall(text)]
        words = set(said)
        parts = [
            self._question_part(words),
            self._trait_part(words),
            self._style_part(text, said),
            self._taste_part(text),
        ]
        if self._instruction is not None:
            # The instruction overrides: all other parts count half.
            parts = [part._replace(liking=part.liking / 2) for part in parts]
            parts.append(self._instruction_part(words, self._instruction))
        strongest = max(parts, key=lambda part: abs(part.liking))
        return strongest._replace(liking=sum(part.liking for part in parts))

    def length_penalty(self, pieces: int) -> float:
        """Returns the deduction from the liking for a text of this many pieces."""
        by_length = 0.06 * max(pieces - 2, 0) * (1.2 - self._character.patience)
        return min(by_length + (0.25 * (pieces - 1) if self._wants_short else 0.0), 1.5)

    def _instruction_part(self, words: set[str], instruction: Goal) -> Impression:
        unwanted = tuple(sorted(instruction.avoid & words))
        if unwanted:
            return Impression(-1.0, "unwanted", unwanted[:3])
        found = _found(instruction, words)
        return Impression(2.0 * found.share, "told", found.words)

    def _question_part(self, words: set[str]) -> Impression:
        found = _found(self._question, words)
        return Impression(0.5 * found.share, "asked", found.words)

    def _trait_part(self, words: set[str]) -> Impression:
        matches = {trait: sorted(liked & words) for trait, liked in _TRAIT_STEMS.items()}
        weights = {trait: (self._traits[trait] - 0.35) * min(len(found), 3) / 3 for trait, found in matches.items()}
        trait = max(weights, key=lambda name: abs(weights[name]))
        return Impression(0.6 * sum(weights.values()), "dear", tuple(matches[trait][:3]))

    def _style_part(self, text: str, said: list[str]) -> Impression:
        sentences = max(len(_SENTENCE_END.findall(text)), 1)
        letters = sum(map(len, said)) / max(len(said), 1)
        heaviness = max(len(said) / sentences - _LONG_SENTENCE, 0) / 20 + max(letters - _LONG_WORD, 0) / 4
        loud = min(len(_SHOUTED.findall(text)), 3) / 3
        heavy = min(heaviness, 1.2) * self._effort * (2 if self._wants_plain else 1)
        annoyed = loud * (0.2 + 0.4 * self._traits["caution"])
        if annoyed > heavy:
            return Impression(-annoyed - heavy, "loud")
        return Impression(0.12 - heavy - annoyed, "heavy" if heavy > 0.12 else "plain")

    def _taste_part(self, text: str) -> Impression:
        taste = (self._character.random_for("taste", key_of(text)) - 0.5) * 0.7
        return Impression(taste, "pleases" if taste > 0 else "cold")


def named_variant(instruction: str, labels: tuple[str, ...]) -> str | None:
    """Returns the variant that an instruction names; None unless it names exactly one."""
    named = {label for label in _NAMED.findall(instruction) if label in labels}
    return named.pop() if len(named) == 1 else None


class _Found(NamedTuple):
    share: float
    words: tuple[str, ...]


def _found(aim: Goal, words: set[str]) -> _Found:
    """Returns the share of a goal that the words cover; a total weight of 2 covers it fully."""
    found = {word: weight for word, weight in aim.words.items() if word in words}
    return _Found(min(sum(found.values()) / min(aim.weight or 1.0, 2.0), 1.0), tuple(found)[:3])
