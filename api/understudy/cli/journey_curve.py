"""View of a whole journey: steps, sentiment curve and friction points."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from understudy.cli.journeys import sentiment_text
from understudy.cli.render import empty_table, plain, status_text

if TYPE_CHECKING:
    from understudy.envelopes.journeys import Journey

#: Bars for sentiments from -1 to 1.
_BARS = "▁▂▃▄▅▆▇█"
#: Maximum interactions per line of the curve.
_WIDTH = 80


def whole_journey_view(journey: "Journey") -> RenderableType:
    title = Text.assemble(
        ("Journey of ", "bold"),
        plain(journey.alias, "bold"),
        "  ",
        plain(journey.person_name),
        "  ",
        status_text(journey.status),
        plain(f"  {journey.outcome}" if journey.outcome else "", "dim"),
    )
    if not journey.steps:
        return Group(title, plain("  No interactions yet.", "dim"))
    curve = [Text.assemble(("mood  ", "dim"), line) for line in curve_lines(journey.sentiment_curve)]
    points = empty_table("#", "kind", "what", "where", apart=1)
    for point in journey.friction_points:
        points.add_row(str(point.index), plain(point.kind, "yellow"), plain(point.what), plain(point.url, "dim"))
    friction: list[RenderableType] = [Text(), points] if journey.friction_points else []
    return Group(title, *curve, Text(), _steps(journey), *friction, *_gave_up(journey))


def curve_lines(curve: Sequence[float]) -> list[str]:
    """Returns the curve as lines of bars: the lowest bar is -1, the highest 1."""
    bars = "".join(_BARS[min(int((value + 1) / 2 * len(_BARS)), len(_BARS) - 1)] for value in curve)
    return [bars[start : start + _WIDTH] for start in range(0, len(bars), _WIDTH)]


def _steps(journey: "Journey") -> RenderableType:
    table = empty_table("#", "where", "thought", "did", "mood", apart=1)
    instructions = {entry.before_index: entry.instruction for entry in journey.told}
    for step in journey.steps:
        if instruction := instructions.pop(step.index, None):
            table.add_row("", plain("instructed", "magenta"), plain(instruction, "magenta"), "", "")
        table.add_row(
            str(step.index),
            plain(step.title or step.url),
            plain(step.thought),
            plain(step.did, "bold"),
            sentiment_text(step.sentiment),
        )
    return table


def _gave_up(journey: "Journey") -> list[RenderableType]:
    end = journey.gave_up_at
    if end is None:
        return []
    return [Text(), Text.assemble(("Gave up at ", "bold red"), plain(f"{end.title} {end.url}".strip()))]
