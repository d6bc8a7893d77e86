"""Subscribers of events, each with a bounded buffer."""

import asyncio
import contextlib
from collections import defaultdict, deque
from typing import NamedTuple
from uuid import UUID

from understudy.domain.ids import Kind

#: Maximum events in the buffer of one subscriber.
MAX_BUFFERED = 200


class Event(NamedTuple):
    """An event as all its subscribers receive it."""

    position: int
    kind: str
    #: `EventData` in JSON, on one line.
    data: str


class EventScope(NamedTuple):
    """The participant, study or ask, found in the workspace, whose events a subscriber reads."""

    workspace_id: UUID
    kind: Kind
    id: UUID


class EventSubscriber:
    """Buffers events for one reader until it takes them."""

    def __init__(self) -> None:
        self.buffer: deque[Event] = deque()
        #: The buffer overflowed: the reader has to read the store.
        self.missed = False
        self.wake_event = asyncio.Event()

    def reset(self) -> None:
        self.buffer.clear()
        self.missed = False

    def push(self, event: Event) -> None:
        if len(self.buffer) >= MAX_BUFFERED:
            self.mark_overflow()
        elif not self.missed:
            self.buffer.append(event)
            self.wake_event.set()

    def mark_overflow(self) -> None:
        self.buffer.clear()
        self.missed = True
        self.wake_event.set()

    def take(self, after: int) -> list[Event]:
        """Empties the buffer; returns its events that are newer than position `after`."""
        events = [event for event in self.buffer if event.position > after]
        self.buffer.clear()
        return events

    async def wait(self, max_wait_s: float) -> None:
        """Waits until there is something to take, at most `max_wait_s` (seconds)."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wake_event.wait(), max(max_wait_s, 0))
        self.wake_event.clear()


class WorkspaceSubscribers:
    """The readers of one workspace, and the position up to which they received its events."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.readers: dict[UUID, set[EventSubscriber]] = defaultdict(set)
