"""Windows: the part of a page that is in view where not all of it fits."""

from typing import NamedTuple

#: A window ends between words, if there is a gap this close to its end.
_GAP = 40


class Window(NamedTuple):
    """Characters of a page's text, from `start` up to `end`."""

    start: int
    end: int
    #: Nothing is below it.
    last: bool = False

    def shows(self, place: int) -> bool:
        """Is what stands at this place of the text in view?"""
        return place >= self.start and (self.last or place < self.end)


def windows(text: str, size: int) -> list[Window]:
    """`text` in parts of at most `size` characters, one below the other; at least one."""
    found, start = [], 0
    while len(text) - start > size:
        gap = text.rfind(" ", start + size - _GAP, start + size)
        end = gap + 1 if gap > start else start + size
        found.append(Window(start, end))
        start = end
    return [*found, Window(start, len(text), last=True)]
