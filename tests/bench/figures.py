"""Figures: what was measured, beside what, and whether that meets the goal."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """At least or at most so much: of the ratio ours / theirs, or of our figure where nobody is beside it."""

    bound: float
    most: bool

    def met(self, value: float) -> bool:
        return value <= self.bound if self.most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.most else '≥'} {self.bound:g}"


def at_least(bound: float) -> Goal:
    return Goal(bound, most=False)


def at_most(bound: float) -> Goal:
    return Goal(bound, most=True)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Our samples, and theirs taken in turn with them: sample `n` of both belong together.

    Without `theirs` the goal is for our figure itself.
    """

    what: str
    unit: str
    ours: Sequence[float]
    beside: str = ""
    theirs: Sequence[float] = ()
    goal: Goal | None = None
    #: Anything else that a reader of the JSON may want.
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        if not self.theirs:
            return []
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def value(self) -> float:
        """What the goal is for: the median."""
        return statistics.median(self.ratios or self.ours)

    @property
    def met(self) -> bool | None:
        """None: there is no goal, or nobody to compare with."""
        if self.goal is None or (self.beside and not self.theirs):
            return None
        return self.goal.met(self.value)

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": list(self.ours),
            "beside": self.beside,
            "theirs": list(self.theirs),
            "ratios": self.ratios,
            "goal": str(self.goal) if self.goal else None,
            "met": self.met,
            **self.more,
        }


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a growth curve: `seconds` it takes at `size`; `line` says of what."""

    line: str
    size: int
    seconds: float


def short(value: float) -> str:
    """A figure with three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def table(rows: Sequence[tuple[int, str, Comparison]]) -> str:
    """Row number, store and comparison of each, as a Markdown table."""
    lines = [
        "| row | store | what | ours | theirs | ratio (min..max) | goal | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, store, one in rows:
        theirs = f"{short(statistics.median(one.theirs))} ({one.beside})" if one.theirs else "-"
        ratio = "-"
        if one.ratios:
            middle, least, most = (_ratio(f(one.ratios)) for f in (statistics.median, min, max))
            ratio = f"{middle} ({least}..{most})"
        met = {None: "-", True: "yes", False: "NO"}[one.met]
        ours = f"{short(statistics.median(one.ours))} {one.unit}"
        if not one.ratios and len(one.ours) > 1:
            ours += f" ({short(min(one.ours))}..{short(max(one.ours))})"
        lines.append(f"| {number} | {store} | {one.what} | {ours} | {theirs} | {ratio} | {one.goal or '-'} | {met} |")
    return "\n".join(lines)
