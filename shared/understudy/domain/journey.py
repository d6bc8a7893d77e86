"""Journeys: where one went wrong, as far as what was stored of it can tell."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: A mood that falls so far from one interaction to the next is a point of friction.
MOOD_DROP_THRESHOLD = 0.3
#: So often one is back at a place, or has done the same thing there, before it counts as going in circles.
REVISIT_THRESHOLD = 3

_NON_NAVIGATING = frozenset(("finish", "give_up", "wait"))


class FrictionKind(StrEnum):
    """What made it hard."""

    PROBLEM = "problem"
    ERROR_PAGE = "error_page"
    REPEATED_REPLY = "repeated_reply"
    GOING_IN_CIRCLES = "going_in_circles"
    MOOD_DROP = "mood_drop"


@dataclass(frozen=True, slots=True)
class PastInteraction:
    """An interaction, as far as friction is looked for in it."""

    index: int
    action: Mapping[str, Any]
    sentiment: float
    #: Where it led.
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Friction:
    """One point of friction: at which interaction, which kind, and in words."""

    index: int
    kind: FrictionKind
    what: str


def find_friction_points(steps: Iterable[PastInteraction]) -> Iterator[Friction]:
    """All points of friction of a journey, in order. One interaction can be several."""
    before: PastInteraction | None = None
    visits: Counter[str] = Counter()
    replies: set[str] = set()
    for step in steps:
        found = [
            *_detect_problems(step),
            *_detect_repeated_reply(step, replies),
            *_detect_loops(step, before, visits),
        ]
        if before is not None and before.sentiment - step.sentiment >= MOOD_DROP_THRESHOLD:
            fall = f"The mood fell from {before.sentiment:+.1f} to {step.sentiment:+.1f}."
            found.append((FrictionKind.MOOD_DROP, fall))
        for kind, what in found:
            yield Friction(step.index, kind, what)
        before = step


def _detect_problems(step: PastInteraction) -> Iterator[tuple[FrictionKind, str]]:
    status = step.result.get("status")
    if problem := step.result.get("problem"):
        yield FrictionKind.PROBLEM, str(problem)
    elif isinstance(status, int) and status >= 400:
        yield FrictionKind.ERROR_PAGE, f"The page answers {status}."


def _detect_repeated_reply(step: PastInteraction, replies: set[str]) -> Iterator[tuple[FrictionKind, str]]:
    """In a chat: the bot says what it has said before."""
    reply = step.result.get("text")
    if not isinstance(reply, str) or not reply or step.action.get("kind") != "say":
        return
    if reply in replies:
        yield FrictionKind.REPEATED_REPLY, "The bot said that before."
    replies.add(reply)


def _detect_loops(
    step: PastInteraction, before: PastInteraction | None, visits: Counter[str]
) -> Iterator[tuple[FrictionKind, str]]:
    """On a site: back at a place once more, whence one had left."""
    url = step.result.get("url")
    if not isinstance(url, str) or "text" in step.result or step.action.get("kind") in _NON_NAVIGATING:
        return
    if before is not None and before.result.get("url") == url:
        return
    visits[url] += 1
    if visits[url] >= REVISIT_THRESHOLD:
        yield FrictionKind.GOING_IN_CIRCLES, f"Here for the {_ordinal(visits[url])} time."


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number % 100 < 14 else ending}"
