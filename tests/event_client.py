"""Clients of /v1/events in plain HTTP."""

import contextlib
import json
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import httpx_sse

from tests.http_client import ApiClient
from tests.servers import wait_until


class ReceivedEvent(NamedTuple):
    """One received event."""

    id: int
    event: str
    data: dict[str, Any]


@contextlib.contextmanager
def open_stream(
    caller: ApiClient, *, api: str = "", last: int | None = None, silence_s: float = 30, **scope: Any
) -> Iterator[Iterator[ReceivedEvent]]:
    """Yields the events of a scope as they arrive; `silence_s` without one raises."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    params = {name: str(value) for name, value in scope.items()}
    asked = {"params": params, "headers": headers, "timeout": httpx.Timeout(30, read=silence_s)}
    with caller.http.stream("GET", f"{api}/v1/events", **asked) as response:
        assert response.status_code == 200, response.read()
        yield (_told(frame) for frame in httpx_sse.EventSource(response).iter_sse() if frame.data)


def _told(frame: httpx_sse.ServerSentEvent) -> ReceivedEvent:
    return ReceivedEvent(int(frame.id), frame.event, json.loads(frame.data))


def all_events(caller: ApiClient, **scope: Any) -> list[ReceivedEvent]:
    """Returns all events committed until now."""
    with open_stream(caller, follow="false", **scope) as events:
        return list(events)


class EventListener:
    """A thread that reads events from random servers and reconnects at random."""

    def __init__(self, caller: ApiClient, apis: list[str], seed: int, **scope: Any) -> None:
        #: Servers to read from; tests may change it meanwhile.
        self.apis = apis
        self.heard: list[ReceivedEvent] = []
        self.connections = 0
        self._caller, self._scope = caller, scope
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_for(self, count: int) -> None:
        """Waits until it has received so many events."""
        wait_until(lambda: len(self.heard) >= count or self._failure, what=f"{count} events are heard")
        assert self._failure is None, self._failure

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)

    def by_participant(self) -> dict[UUID, list[int]]:
        """Returns the received seqs of each participant."""
        seqs: dict[UUID, list[int]] = defaultdict(list)
        for told in self.heard:
            seqs[UUID(told.data["participant_id"])].append(told.data["seq"])
        return seqs

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                # A server may start or end, also in the middle of an event.
                with contextlib.suppress(httpx.TransportError, AssertionError):
                    self._listen(self._chance.randint(1, 40))
                self._over.wait(0.01)
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
            self._failure = error

    def _listen(self, most: int) -> None:
        last = self.heard[-1].id if self.heard else None
        api = self._chance.choice(self.apis)
        with open_stream(self._caller, api=api, last=last, silence_s=1, **self._scope) as events:
            self.connections += 1
            for told in events:
                self.heard.append(told)
                most -= 1
                if most == 0 or self._over.is_set():
                    return
