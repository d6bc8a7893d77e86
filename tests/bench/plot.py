"""Growth as a picture: `python -m tests.bench.plot FIGURES.json OUT.svg`, both axes by powers of ten.

A line that rises like the grey one costs the same for each one more; a flatter one, less.
"""

import json
import math
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 250, 30, 50
COLOURS = (
    *("#1b6ca8", "#c8553d", "#3a7d44", "#8a4fa3", "#b8860b"),
    *("#2f8f9d", "#7a5c3e", "#e0529c", "#333333", "#8fbc3f"),
)


class Axes:
    """Where a size and a duration are in the picture."""

    def __init__(self, lines: dict[str, dict[int, float]]) -> None:
        sizes = [size for line in lines.values() for size in line]
        times = [seconds for line in lines.values() for seconds in line.values()]
        self.sizes = (math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes))))
        self.times = (math.floor(math.log10(min(times))), math.ceil(math.log10(max(times))))

    def x(self, size: float) -> float:
        low, high = self.sizes
        return LEFT + (math.log10(size) - low) / max(high - low, 1) * (WIDTH - LEFT - RIGHT)

    def y(self, seconds: float) -> float:
        low, high = self.times
        return HEIGHT - BOTTOM - (math.log10(seconds) - low) / max(high - low, 1) * (HEIGHT - TOP - BOTTOM)


def medians(points: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Line -> size -> the median of what was measured there, in seconds."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        line = f"{point['row']}: {point['line']}, {point['store']}"
        found[line][point["size"]].append(point["seconds"])
    return {
        line: {size: statistics.median(some) for size, some in sorted(sizes.items())}
        for line, sizes in sorted(found.items())
    }


def draw(lines: dict[str, dict[int, float]]) -> str:
    """The picture, as SVG."""
    axes = Axes(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for power in range(axes.sizes[0], axes.sizes[1] + 1):
        x = axes.x(10**power)
        parts.append(f'<path d="M{x:.0f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.0f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10**power:,}</text>')
    for power in range(axes.times[0], axes.times[1] + 1):
        y = axes.y(10**power)
        parts.append(f'<path d="M{LEFT} {y:.0f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        label = f"{10**power:g} s" if power >= 0 else f"{10 ** (power + 3):g} ms"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{label}</text>')
    parts.append(_in_proportion(axes))
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        dots = [(axes.x(size), axes.y(seconds)) for size, seconds in line.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
        at = TOP + 14 + 18 * number
        parts.append(f'<text x="{WIDTH - RIGHT + 14}" y="{at}" fill="{colour}">{name}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle">how many</text></svg>')
    return "\n".join(parts) + "\n"


def _in_proportion(axes: Axes) -> str:
    """A grey line that rises in proportion, from corner to where it leaves the picture."""
    decades = min(axes.sizes[1] - axes.sizes[0], axes.times[1] - axes.times[0])
    x = [axes.x(10**power) for power in (axes.sizes[1] - decades, axes.sizes[1])]
    y = [axes.y(10**power) for power in (axes.times[1] - decades, axes.times[1])]
    return (
        f'<path d="M{x[0]:.0f} {y[0]:.0f}L{x[1]:.0f} {y[1]:.0f}" stroke="#bbb" stroke-width="6" stroke-opacity="0.5"/>'
    )


def main() -> int:
    *figures, target = map(Path, sys.argv[1:])
    points = [point for file in figures for point in json.loads(file.read_text())["growth"]]
    target.write_text(draw(medians(points)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
