"""Readers of events: what is kept for each until it takes it, and who reads what."""

import asyncio
import contextlib
from collections import defaultdict, deque
from typing import NamedTuple
from uuid import UUID

from understudy.domain.ids import Kind

#: Events that are kept for a reader.
MOST_KEPT = 200


class Event(NamedTuple):
    """An event as all its readers get it."""

    position: int
    kind: str
    #: `EventData` in JSON, on one line.
    data: str


class EventScope(NamedTuple):
    """What somebody reads the events of: a participant, study or ask that was found in the workspace."""

    workspace_id: UUID
    kind: Kind
    id: UUID


class Reader:
    """What is kept for one reader until it takes it."""

    def __init__(self) -> None:
        self.kept: deque[Event] = deque()
        #: There was more than could be kept: the store has to be read.
        self.missed = False
        self.bell = asyncio.Event()

    def begin_anew(self) -> None:
        self.kept.clear()
        self.missed = False

    def hand(self, found: Event) -> None:
        if len(self.kept) >= MOST_KEPT:
            self.miss()
        elif not self.missed:
            self.kept.append(found)
            self.bell.set()

    def miss(self) -> None:
        self.kept.clear()
        self.missed = True
        self.bell.set()

    def take(self, after: int) -> list[Event]:
        """What was kept and is newer than `after`."""
        taken = [one for one in self.kept if one.position > after]
        self.kept.clear()
        return taken

    async def rest(self, most_s: float) -> None:
        """Until there is something to take, but no longer than `most_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.bell.wait(), max(most_s, 0))
        self.bell.clear()


class Readers:
    """The readers of one workspace, and the position up to which they were handed what there was."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.readers: dict[UUID, set[Reader]] = defaultdict(set)
