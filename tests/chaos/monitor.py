"""Checks that hold at every moment of a run, not only at its end."""

from sqlalchemy import select

from understudy.domain.errors import ServiceUnavailable
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant

#: A participant that lost two workers without an interaction in between waits for the quarantine worker.
_ESCAPED = select(_p.c.id, _p.c.attempt, _p.c.queue).where(
    _p.c.status == str(Status.PENDING), _p.c.attempt >= 2, _p.c.queue != str(Queue.QUARANTINE)
)


class Monitor:
    """Looks at the rows again and again; `problems` has what it saw, each once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, None] = {}

    @property
    def problems(self) -> list[str]:
        return list(self._seen)

    def look(self) -> None:
        """Checks all rows now; does nothing while the store is unavailable."""
        try:
            with self._store.read() as connection:
                escaped = connection.execute(_ESCAPED).all()
        except ServiceUnavailable:
            return
        for row in escaped:
            self._seen[f"not in quarantine: {row.id} is in {row.queue} after {row.attempt} losses"] = None
