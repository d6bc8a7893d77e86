"""The runner: all runs of a process on one asyncio loop, in a thread of its own."""

import asyncio
import itertools
import logging
import threading
from collections.abc import Iterable
from uuid import UUID

from shared.notices import Notifier
from shared.queue.publisher import Publisher
from shared.store.lifecycle import Claim
from worker.run import Ending, House, Run

log = logging.getLogger(__name__)


class Runner:
    """Runs participants for the threads of a pool, and aborts them when told. Thread-safe.

    Steps wait on networks for seconds, so hundreds share the loop; each thread of the pool only waits for
    its one participant.
    """

    def __init__(self, house: House, publisher: Publisher, notifier: Notifier) -> None:
        self._house = house
        self._publisher = publisher
        self._notifier = notifier
        self._runs: dict[int, Run] = {}
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="steps", daemon=True)
        self._thread.start()

    def run(self, participant_id: UUID, job: int | None = None) -> Ending:
        """Run a participant to its end and tell who waits. Blocks; `job` is a name for `terminate`."""
        return asyncio.run_coroutine_threadsafe(self._run(participant_id, job), self._loop).result()

    def abort(self, participant_ids: Iterable[UUID]) -> None:
        """Cut the steps in flight of these, if they run here; returns at once."""
        ids = frozenset(participant_ids)
        self._loop.call_soon_threadsafe(self._abort, ids)

    def abort_all(self) -> None:
        """Cut all steps in flight; returns at once."""
        self._loop.call_soon_threadsafe(self._abort, None)

    def terminate(self, job: int) -> None:
        """Cancel the participant that runs as `job`: an operator asked for it. Returns at once."""
        self._loop.call_soon_threadsafe(self._terminate, job)

    def claims(self) -> dict[UUID, Claim]:
        """What runs here now."""
        return {run.claim.participant_id: run.claim for run in tuple(self._runs.values()) if run.claim}

    def close(self) -> None:
        """Stop the loop. All runs have ended before."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _run(self, participant_id: UUID, job: int | None) -> Ending:
        run = Run(participant_id, self._house)
        # Pool jobs count from 1; without one, any other number will do.
        number = job if job is not None else -next(self._numbers)
        self._runs[number] = run
        try:
            ending = await run.go()
        finally:
            del self._runs[number]
        if ending is Ending.RELEASED:
            self._publisher.dispatch_soon([participant_id])
        elif ending in {Ending.ENDED, Ending.STOPPED}:
            self._notifier.publish_soon([participant_id])
        return ending

    def _abort(self, ids: frozenset[UUID] | None) -> None:
        for run in tuple(self._runs.values()):
            if ids is None or run.participant_id in ids:
                run.abort()

    def _terminate(self, job: int) -> None:
        if (run := self._runs.get(job)) is not None:
            run.abort(cancel=True)
