"""Journeys: finds friction points in stored interactions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

#: Minimum fall in sentiment between two interactions that counts as a friction point.
MOOD_DROP_THRESHOLD = 0.3
#: Number of visits to one page from which they count as going in circles.
REVISIT_THRESHOLD = 3

_NON_NAVIGATING = frozenset(("finish", "give_up", "wait"))


class FrictionKind(StrEnum):
    """The kind of a friction point."""

    PROBLEM = "problem"
    ERROR_PAGE = "error_page"
    REPEATED_REPLY = "repeated_reply"
    GOING_IN_CIRCLES = "going_in_circles"
    MOOD_DROP = "mood_drop"


@dataclass(frozen=True, slots=True)
class PastInteraction:
    """The fields of an interaction that friction points depend on."""

    index: int
    action: Mapping[str, Any]
    sentiment: float
    #: Its result, such as the page that it led to.
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Friction:
    """A friction point: its interaction, its kind, and a description."""

    index: int
    kind: FrictionKind
    what: str


def find_friction_points(steps: Iterable[PastInteraction]) -> Iterator[Friction]:
    """Yields all friction points of a journey, in order. One interaction can have several."""
    previous: PastInteraction | None = None
    visits: Counter[str] = Counter()
    replies: set[bytes] = set()
    for step in steps:
        found = [
            *_detect_problems(step),
            *_detect_repeated_reply(step, replies),
            *_detect_loops(step, previous, visits),
        ]
        if previous is not None and previous.sentiment - step.sentiment >= MOOD_DROP_THRESHOLD:
            fall = f"The mood fell from {previous.sentiment:+.1f} to {step.sentiment:+.1f}."
            found.append((FrictionKind.MOOD_DROP, fall))
        for kind, what in found:
            yield Friction(step.index, kind, what)
        previous = step


def _detect_problems(step: PastInteraction) -> Iterator[tuple[FrictionKind, str]]:
    status = step.result.get("status")
    if problem := step.result.get("problem"):
        yield FrictionKind.PROBLEM, str(problem)
    elif isinstance(status, int) and status >= 400:
        yield FrictionKind.ERROR_PAGE, f"The page returned HTTP status {status}."


def _detect_repeated_reply(step: PastInteraction, replies: set[bytes]) -> Iterator[tuple[FrictionKind, str]]:
    """In a chat: the bot repeats an earlier reply."""
    reply = step.result.get("text")
    if not isinstance(reply, str) or not reply or step.action.get("kind") != "say":
        return
    # The digest: a long conversation would keep all its replies in memory.
    digest = sha256(reply.encode("utf-8", "replace")).digest()
    if digest in replies:
        yield FrictionKind.REPEATED_REPLY, "The bot repeated an earlier reply."
    replies.add(digest)


def _detect_loops(
    step: PastInteraction, previous: PastInteraction | None, visits: Counter[str]
) -> Iterator[tuple[FrictionKind, str]]:
    """On a site: the person returns to a page that they left."""
    url = step.result.get("url")
    if not isinstance(url, str) or "text" in step.result or step.action.get("kind") in _NON_NAVIGATING:
        return
    if previous is not None and previous.result.get("url") == url:
        return
    visits[url] += 1
    if visits[url] >= REVISIT_THRESHOLD:
        yield FrictionKind.GOING_IN_CIRCLES, f"Visited for the {_ordinal(visits[url])} time."


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number % 100 < 14 else ending}"
