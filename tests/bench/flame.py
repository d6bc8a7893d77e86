"""Where a worker's time goes in row 1, as a picture: `python -m tests.bench.flame OUT.svg [--store KIND]`.

Samples are of the thread that holds the interpreter, taken by py-spy out of the rivals' environment. A frame
is as wide as its part of all samples, and stands on who called it; what is below a hundredth is left out.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from tests.bench.installation import RIVALS, opened
from tests.bench.rows import row01_interactions

WIDTH, LINE, SMALLEST = 1100, 17, 0.01
#: Frames that every thread has, and tell nothing.
_PLAIN = (
    "threading.py",
    "runpy",
    "typer/",
    "api/understudy/cli/",
    "deploy/understudy/deploy/main.py",
    "bootsteps.py",
    "asyncio/events.py",
)


@dataclass
class Frame:
    """Samples of a function under one caller, and of what it called."""

    samples: int = 0
    called: dict[str, "Frame"] = field(default_factory=dict)


def stacked(folded: Sequence[str]) -> Frame:
    """Stacks as py-spy writes them, one in a line: `outermost;…;innermost count`."""
    root = Frame()
    for line in folded:
        names, _, count = line.rpartition(" ")
        told = [name.rpartition(":")[0] or name for name in names.split(";")]
        told = [name + ")" * (name.count("(") - name.count(")")) for name in told]
        frame = root
        frame.samples += int(count)
        for name in told:
            if not any(plain in name for plain in _PLAIN):
                frame = frame.called.setdefault(name, Frame())
                frame.samples += int(count)
    return root


def drawn(root: Frame, title: str) -> str:
    """The picture as SVG; pointing at a frame tells its name and its part."""
    boxes: list[str] = []
    deepest = 0

    def draw(frame: Frame, left: float, depth: int) -> None:
        nonlocal deepest
        deepest = max(deepest, depth)
        for name, one in sorted(frame.called.items(), key=lambda item: -item[1].samples):
            part = one.samples / root.samples
            if part < SMALLEST:
                continue
            width = part * WIDTH
            hue = sum(name.encode()) % 50 + 10
            shown = escape(name[: max(int(width / 6.2) - 1, 0)])
            boxes.append(
                f'<g><title>{escape(name)}: {part:.1%}</title><rect x="{left:.1f}" y="{-depth * LINE}" '
                f'width="{width:.1f}" height="{LINE - 1}" fill="hsl({hue},75%,72%)"/>'
                f'<text x="{left + 2:.1f}" y="{-depth * LINE + 12}">{shown}</text></g>'
            )
            draw(one, left, depth + 1)
            left += width

    draw(root, 0, 1)
    height = (deepest + 2) * LINE
    top = LINE - height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {top} {WIDTH} {height}" '
        f'font-family="monospace" font-size="10"><rect y="{top}" width="{WIDTH}" height="{height}" '
        f'fill="#fff"/><text x="4" y="{top + LINE}" font-size="13">{escape(title)}</text>' + "".join(boxes) + "</svg>\n"
    )


@contextlib.contextmanager
def sampled(pid: int, file: Path, for_s: int) -> Iterator[None]:
    """Sample a process while the block goes on."""
    spy = RIVALS / "bin" / "py-spy"
    how = ["--gil", "--rate", "200", "--duration", str(for_s), "--format", "raw", "--output", str(file)]
    sampling = subprocess.Popen([spy, "record", "--pid", str(pid), *how], stdout=subprocess.DEVNULL)
    yield
    sampling.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.flame", description=__doc__)
    parser.add_argument("out", type=Path, help="the picture")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seconds", type=int, default=10, help="how long to look")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, opened([options.store], pairs=1, smoke=False) as (bench,):
        file = Path(folder) / "folded"
        row01_interactions.ours(bench, watch=lambda pid: sampled(pid, file, options.seconds))
        root = stacked(file.read_text().splitlines())
    options.out.write_text(drawn(root, f"Row 1, {options.store}: {root.samples} samples"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
