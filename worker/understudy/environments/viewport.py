"""Windows: split a page into the parts that fit on the screen."""

from typing import NamedTuple

#: A window ends between words if there is a space within this many characters of its end.
_GAP = 40


class Window(NamedTuple):
    """A range of a page's text, from `start` up to but not including `end`."""

    start: int
    end: int
    #: The window is the last one of the page.
    last: bool = False

    def shows(self, offset: int) -> bool:
        """Returns whether this offset of the text is in view."""
        return offset >= self.start and (self.last or offset < self.end)


def windows(text: str, size: int) -> list[Window]:
    """Returns the windows of `text`, of at most `size` characters each, in order; at least one."""
    found, start = [], 0
    while len(text) - start > size:
        gap = text.rfind(" ", start + size - _GAP, start + size)
        end = gap + 1 if gap > start else start + size
        found.append(Window(start, end))
        start = end
    return [*found, Window(start, len(text), last=True)]
