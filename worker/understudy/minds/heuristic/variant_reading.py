"""Opinions: decides how the heuristic mind reads variants of a text, and what it answers."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from understudy.domain.simulation import Action, Decision, Json, Turn
from understudy.domain.variants import MAX_VARIANTS, RATINGS
from understudy.minds.heuristic.character import Personality
from understudy.minds.heuristic.goal_parser import parse_goal
from understudy.minds.heuristic.memory import key_of
from understudy.minds.heuristic.text_appeal import Impression, TextEvaluator, named_variant

_PART = re.compile(r"part (\d+) of (\d+)")
#: No variant is picked if the best opinion is not above this.
_NONE_BELOW = -0.6
_MAX_PIECES = 1_000

#: Thoughts about a piece, by reason; {words} are the words that caused it.
_SAID = {
    "told": ("This is about {words}, as I was told to look for.", "{words}: that is what counts now."),
    "unwanted": ("There it is, {words}, which I was told to keep away from.",),
    "asked": ("It speaks about {words}, which is the question.", "{words}: to the point."),
    "dear": ("{words}: that matters to me.", "I like to hear about {words}."),
    "plain": ("Easy to read.", "Said plainly, I like that."),
    "heavy": ("Hard going; I had to read it twice.", "Long-winded."),
    "loud": ("Why does it shout at me?", "Too loud for my taste."),
    "pleases": ("I just like how it sounds.", "This has something."),
    "cold": ("It leaves me cold.", "Not my thing."),
}
_BECAUSE = {
    "told": "it is about {words}",
    "unwanted": "it brings up {words}",
    "asked": "it speaks about {words}",
    "dear": "{words} matters to me",
    "plain": "it is easy to read",
    "heavy": "it is hard going",
    "loud": "it shouts",
    "pleases": "I like how it sounds",
    "cold": "it leaves me cold",
}
#: Reasons against a text.
_AGAINST = frozenset(("unwanted", "heavy", "loud", "cold"))


class _VariantScore(NamedTuple):
    """Summarises a variant: pieces read, the sum of their likings, and the strongest reason."""

    pieces: int = 0
    liking: float = 0.0
    strongest: float = 0.0
    reason: str = "cold"
    words: tuple[str, ...] = ()

    def plus(self, impression: Impression) -> "_VariantScore":
        stronger = self.pieces == 0 or abs(impression.liking) > abs(self.strongest)
        return _VariantScore(
            self.pieces + 1,
            round(self.liking + impression.liking, 4),
            round(impression.liking, 4) if stronger else self.strongest,
            impression.reason if stronger else self.reason,
            impression.words if stronger else self.words,
        )


def decide_on_texts(turn: Turn) -> Decision:
    """Returns the next action of a reader of variants: read on, open another variant, or answer."""
    return _TextDecision(turn).decide()


class _TextDecision:
    """Builds one decision."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._character = Personality(turn.person, turn.seed)
        instruction = turn.instruction or ""
        direction = parse_goal(instruction) if instruction else None
        self._judge = TextEvaluator(turn.person, self._character, parse_goal(turn.assignment.task), direction)
        #: Label of each variant -> number of the element to follow.
        self._links = {
            element.href.removeprefix("text://").removesuffix("/1"): element.number
            for element in turn.observation.elements
            if element.kind == "link" and element.href.endswith("/1")
        }
        self._labels = tuple(self._links)
        self._liked = _load(turn.memory)
        self._key = key_of(instruction) if instruction else ""
        place = turn.observation.url.removeprefix("text://")
        self._label = place.partition("/")[0] if "/" in place else ""

    def decide(self) -> Decision:
        turn = self._turn
        if turn.remaining > 1 and self._begins_anew():
            self._liked = {}
            return self._follow(self._labels[0], "Let me look at them again.", 0.0)
        if not self._label:
            return self._answer()
        impression = self._judge.impression(turn.observation.text)
        part, parts = self._part()
        before = self._liked.get(self._label, _VariantScore()) if part > 1 else _VariantScore()
        self._liked[self._label] = before.plus(impression)
        return self._go_on(impression, part, parts)

    def _begins_anew(self) -> bool:
        """Returns whether to read from the start: after a new instruction, or resumed with all read."""
        memory = self._turn.memory if isinstance(self._turn.memory, Mapping) else {}
        is_new = "told" in memory and memory["told"] != self._key
        return bool(self._labels) and (is_new or (self._turn.resumed and not self._label))

    def _part(self) -> tuple[int, int]:
        found = _PART.search(self._turn.observation.title)
        return (int(found[1]), int(found[2])) if found else (1, 1)

    def _go_on(self, impression: Impression, part: int, parts: int) -> Decision:
        """Reads on, or leaves the variant: it bores, or too few turns are left for the others."""
        thought, feeling = self._said(impression), impression.liking
        left = self._turn.remaining - 1
        if left == 0:
            return self._answer()
        unread = self._labels[self._labels.index(self._label) + 1 :] if self._label in self._links else ()
        if part < parts and (left - 1 < len(unread) or self._should_skip(part, parts)):
            if unread:
                return self._follow(unread[0], f"{thought} On to the next one.", feeling)
            return self._answer()
        return self._decision(thought, Action("read", target=self._turn.observation.title), feeling)

    def _should_skip(self, part: int, parts: int) -> bool:
        character = self._character
        hurry = (1 - character.thoroughness) * (1 - character.patience)
        return part < parts and character.random_for("skip", self._label, part) < 0.6 * hurry

    def _answer(self) -> Decision:
        """Picks and rates the variants that were read; it does not rate the others."""
        opinions = {label: self._opinion(label) for label in self._labels if label in self._liked}
        ranked = sorted(opinions, key=lambda label: (-opinions[label], self._character.random_for("tie", label)))
        named = named_variant(self._turn.instruction or "", self._labels)
        best = named or (ranked[0] if ranked and opinions[ranked[0]] > _NONE_BELOW else None)
        value = {
            "pick": best,
            "ratings": {label: _rating(opinion) for label, opinion in opinions.items()},
            "comment": self._comment(best, ranked, instructed=named is not None),
        }
        felt = opinions.get(best, 0.0) if best else -0.5
        thought = f"I pick {best}." if best else "None of them for me."
        return self._decision(thought, Action("answer", target=best or "none", value=value), felt)

    def _opinion(self, label: str) -> float:
        liked = self._liked[label]
        return liked.liking / liked.pieces - self._judge.length_penalty(liked.pieces)

    def _comment(self, best: str | None, ranked: list[str], *, instructed: bool) -> str:
        opening = f"I was told to pick {best}. " if instructed else ""
        said = [f"{label}: {self._because(label)}." for label in ranked]
        first = [f"{best}, {self._link(best)} {self._because(best)}."] if best and not instructed else []
        others = [line for label, line in zip(ranked, said, strict=True) if not first or label != best]
        return opening + " ".join([*first, *others[:3]])

    def _link(self, label: str) -> str:
        return "though" if self._liked[label].reason in _AGAINST else "because"

    def _because(self, label: str) -> str:
        liked = self._liked[label]
        return _BECAUSE[liked.reason].format(words=_listed(liked.words))

    def _said(self, impression: Impression) -> str:
        variants = _SAID[impression.reason]
        number = self._character.random_for("words", self._label, impression.reason) * len(variants)
        said = variants[int(number)].format(words=_listed(impression.words))
        return said[0].upper() + said[1:]

    def _follow(self, label: str, thought: str, feeling: float) -> Decision:
        return self._decision(thought, Action("follow", self._links[label], f"Variant {label}"), feeling)

    def _decision(self, thought: str, action: Action, feeling: float) -> Decision:
        memory = {"told": self._key, "liked": {label: list(score) for label, score in self._liked.items()}}
        return Decision(thought, action, round(min(max(feeling, -1.0), 1.0), 2), memory)


def _rating(opinion: float) -> int:
    return min(max(round(3 + 2.2 * opinion), RATINGS[0]), RATINGS[-1])


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"“{word}”" for word in words) or "that"


def _load(stored: Json) -> dict[str, _VariantScore]:
    """Returns the stored scores, without invalid ones; never raises."""
    entries = stored.get("liked") if isinstance(stored, Mapping) else None
    if not isinstance(entries, Mapping):
        return {}
    loaded = {label: _liked(fields) for label, fields in list(entries.items())[:MAX_VARIANTS]}
    return {str(label): liked for label, liked in loaded.items() if liked is not None}


def _liked(fields: Any) -> _VariantScore | None:
    if not isinstance(fields, list) or len(fields) != len(_VariantScore._fields):
        return None
    pieces, liking, strongest, reason, words = fields
    numbers = all(
        isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
        for number in (pieces, liking, strongest)
    )
    fits = numbers and 1 <= pieces <= _MAX_PIECES and isinstance(reason, str) and reason in _SAID
    if not fits or not isinstance(words, list):
        return None
    return _VariantScore(int(pieces), liking, strongest, reason, tuple(str(word)[:100] for word in words[:3]))
