"""Opinions: how the heuristic mind reads variants of a text, and what it answers about them."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from understudy.domain.simulation import Action, Decision, Json, Turn
from understudy.domain.variants import MAX_VARIANTS, RATINGS
from understudy.minds.character import Personality
from understudy.minds.goals import parse_goal
from understudy.minds.impressions import Impression, TextEvaluator, named_variant
from understudy.minds.memory import key_of

_PART = re.compile(r"part (\d+) of (\d+)")
#: Liked less than this, nothing is picked.
_NONE_BELOW = -0.6
_MOST_PIECES = 1_000

#: What is said of a piece, by reason; {words} are those that did it.
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
    """What is kept of a variant: pieces read, their likings summed up, and the strongest of its reasons."""

    pieces: int = 0
    liking: float = 0.0
    strongest: float = 0.0
    reason: str = "cold"
    words: tuple[str, ...] = ()

    def and_then(self, impression: Impression) -> "_VariantScore":
        stronger = self.pieces == 0 or abs(impression.liking) > abs(self.strongest)
        return _VariantScore(
            self.pieces + 1,
            round(self.liking + impression.liking, 4),
            round(impression.liking, 4) if stronger else self.strongest,
            impression.reason if stronger else self.reason,
            impression.words if stronger else self.words,
        )


def decide_on_texts(turn: Turn) -> Decision:
    """The next action of somebody who reads variants: read, turn to another one, or answer."""
    return _TextDecision(turn).decide()


class _TextDecision:
    """One decision."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._character = Personality(turn.person, turn.seed)
        instruction = turn.instruction or ""
        told = parse_goal(instruction) if instruction else None
        self._judge = TextEvaluator(turn.person, self._character, parse_goal(turn.assignment.task), told)
        #: Number of the element to follow, by label.
        self._links = {
            element.href.removeprefix("text://").removesuffix("/1"): element.number
            for element in turn.observation.elements
            if element.kind == "link" and element.href.endswith("/1")
        }
        self._labels = tuple(self._links)
        self._liked = _load(turn.memory)
        self._told = key_of(instruction) if instruction else ""
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
        at, of = self._part()
        before = self._liked.get(self._label, _VariantScore()) if at > 1 else _VariantScore()
        self._liked[self._label] = before.and_then(impression)
        return self._go_on(impression, at, of)

    def _begins_anew(self) -> bool:
        """Told something new, or taken up again when all was read, it reads from the start."""
        memory = self._turn.memory if isinstance(self._turn.memory, Mapping) else {}
        told_anew = "told" in memory and memory["told"] != self._told
        return bool(self._labels) and (told_anew or (self._turn.resumed and not self._label))

    def _part(self) -> tuple[int, int]:
        found = _PART.search(self._turn.observation.title)
        return (int(found[1]), int(found[2])) if found else (1, 1)

    def _go_on(self, impression: Impression, at: int, of: int) -> Decision:
        """Read on, or leave this one: it bores, or there would be no time left for the others."""
        thought, feeling = self._said(impression), impression.liking
        left = self._turn.remaining - 1
        if left == 0:
            return self._answer()
        unread = self._labels[self._labels.index(self._label) + 1 :] if self._label in self._links else ()
        if at < of and (left - 1 < len(unread) or self._should_skip(at, of)):
            if unread:
                return self._follow(unread[0], f"{thought} On to the next one.", feeling)
            return self._answer()
        return self._decision(thought, Action("read", target=self._turn.observation.title), feeling)

    def _should_skip(self, at: int, of: int) -> bool:
        character = self._character
        hurry = (1 - character.thoroughness) * (1 - character.patience)
        return at < of and character.random_for("skip", self._label, at) < 0.6 * hurry

    def _answer(self) -> Decision:
        """What it makes of all it has read; what it has not read it does not rate."""
        opinions = {label: self._opinion(label) for label in self._labels if label in self._liked}
        ranked = sorted(
            opinions, key=lambda label: (-opinions[label], self._character.random_for("tie", label))
        )
        named = named_variant(self._turn.instruction or "", self._labels)
        best = named or (ranked[0] if ranked and opinions[ranked[0]] > _NONE_BELOW else None)
        value = {
            "pick": best,
            "ratings": {label: _rating(opinion) for label, opinion in opinions.items()},
            "comment": self._comment(best, ranked, told=named is not None),
        }
        felt = opinions.get(best, 0.0) if best else -0.5
        thought = f"I pick {best}." if best else "None of them for me."
        return self._decision(thought, Action("answer", target=best or "none", value=value), felt)

    def _opinion(self, label: str) -> float:
        liked = self._liked[label]
        return liked.liking / liked.pieces - self._judge.length_penalty(liked.pieces)

    def _comment(self, best: str | None, ranked: list[str], *, told: bool) -> str:
        told_so = f"I was told to pick {best}. " if told else ""
        said = [f"{label}: {self._because(label)}." for label in ranked]
        first = [f"{best}, {self._link(best)} {self._because(best)}."] if best and not told else []
        others = [line for label, line in zip(ranked, said, strict=True) if not first or label != best]
        return told_so + " ".join([*first, *others[:3]])

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
        memory = {"told": self._told, "liked": {label: list(liked) for label, liked in self._liked.items()}}
        return Decision(thought, action, round(min(max(feeling, -1.0), 1.0), 2), memory)


def _rating(opinion: float) -> int:
    return min(max(round(3 + 2.2 * opinion), RATINGS[0]), RATINGS[-1])


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"“{word}”" for word in words) or "that"


def _load(stored: Json) -> dict[str, _VariantScore]:
    """Whatever is odd in stored memory is forgotten, never an error."""
    kept = stored.get("liked") if isinstance(stored, Mapping) else None
    if not isinstance(kept, Mapping):
        return {}
    loaded = {label: _liked(fields) for label, fields in list(kept.items())[:MAX_VARIANTS]}
    return {str(label): liked for label, liked in loaded.items() if liked is not None}


def _liked(fields: Any) -> _VariantScore | None:
    if not isinstance(fields, list) or len(fields) != len(_VariantScore._fields):
        return None
    pieces, liking, strongest, reason, words = fields
    numbers = all(
        isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
        for number in (pieces, liking, strongest)
    )
    fits = numbers and 1 <= pieces <= _MOST_PIECES and isinstance(reason, str) and reason in _SAID
    if not fits or not isinstance(words, list):
        return None
    return _VariantScore(int(pieces), liking, strongest, reason, tuple(str(word)[:100] for word in words[:3]))
