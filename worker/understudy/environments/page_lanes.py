"""Page lanes: where a page is read, so that a costly one slows down only the run that visits it.

The bound of a page's cost is known before it is parsed. A small page is read at once. Any other is read in a
child process, which has a limit of time and memory; huge ones have a child of their own.
"""

from dataclasses import replace

from understudy.environments.page import Page
from understudy.environments.page_source import PageSource
from understudy.environments.reader import read_page
from understudy.isolation.lane import Lane, LaneLimits, LaneUser, TooCostly
from understudy.isolation.per_loop import PerLoop

__all__ = ["LaneUser", "PageLanes", "PageSource", "TooCostly", "page_lanes"]

#: A page within these limits takes a few milliseconds.
_SMALL_BYTES = 16_384
_SMALL_TAGS = 400
#: A page within these limits takes up to a fifth of a second.
_ORDINARY_BYTES = 262_144
_ORDINARY_TAGS = 6_000

_FUNCTION = "understudy.environments.reader:answer"
ORDINARY = LaneLimits(cpu_s=2, max_mb=256, recycle_mb=128)
HUGE = LaneLimits(cpu_s=4, max_mb=384, recycle_mb=128)


class PageLanes:
    """Reads pages for all runs of an event loop."""

    def __init__(self) -> None:
        self._ordinary = Lane(_FUNCTION, ORDINARY)
        self._huge = Lane(_FUNCTION, HUGE)

    async def read(self, source: PageSource, body: bytes, user: LaneUser) -> Page:
        """Returns the page. Raises TooCostly, or OwnFailure if we lack a process for it."""
        tags = body.count(b"<")
        if len(body) <= _SMALL_BYTES and tags <= _SMALL_TAGS:
            return read_page(source, body)
        ordinary = len(body) <= _ORDINARY_BYTES and tags <= _ORDINARY_TAGS
        lane = self._ordinary if ordinary else self._huge
        found = await lane.call(source._asdict(), body, user)
        return replace(Page.from_json(found), refresh=found["refresh"])

    async def close(self) -> None:
        """Ends the child processes."""
        await self._ordinary.close()
        await self._huge.close()


#: The lanes of each loop.
page_lanes = PerLoop(PageLanes)
