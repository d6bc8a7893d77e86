"""Readers of events: what is kept for each until it takes it, and who reads what."""

import asyncio
import contextlib
from collections import defaultdict, deque
from typing import NamedTuple
from uuid import UUID

from understudy.domain.ids import Kind

#: Events that are kept for a reader.
MAX_BUFFERED = 200


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


class EventSubscriber:
    """What is kept for one reader until it takes it."""

    def __init__(self) -> None:
        self.buffer: deque[Event] = deque()
        #: There was more than could be kept: the store has to be read.
        self.missed = False
        self.wake_event = asyncio.Event()

    def reset(self) -> None:
        self.buffer.clear()
        self.missed = False

    def push(self, found: Event) -> None:
        if len(self.buffer) >= MAX_BUFFERED:
            self.mark_overflow()
        elif not self.missed:
            self.buffer.append(found)
            self.wake_event.set()

    def mark_overflow(self) -> None:
        self.buffer.clear()
        self.missed = True
        self.wake_event.set()

    def take(self, after: int) -> list[Event]:
        """What was kept and is newer than `after`."""
        taken = [one for one in self.buffer if one.position > after]
        self.buffer.clear()
        return taken

    async def wait(self, most_s: float) -> None:
        """Until there is something to take, but no longer than `most_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wake_event.wait(), max(most_s, 0))
        self.wake_event.clear()


class WorkspaceSubscribers:
    """The readers of one workspace, and the position up to which they were handed what there was."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.readers: dict[UUID, set[EventSubscriber]] = defaultdict(set)
