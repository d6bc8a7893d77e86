"""Are the parts there that requests need?"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from api.service.threads import end_threads
from shared.domain.errors import ServiceUnavailable
from shared.queue.publisher import BROKER_ERRORS, Publisher
from shared.store import leases
from shared.store.engine import Store

#: Whoever asks whether all is well is answered by then.
DEADLINE_S = 3


class Readiness:
    """Looks at store and broker for all who ask, once at a time. Belongs to one event loop.

    On a thread of its own: it holds up nobody, however long they take to answer, and nobody holds it up.
    """

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher
        self._thread = ThreadPoolExecutor(1, "readiness")
        self._look: asyncio.Future[int] | None = None

    async def workers(self) -> int:
        """How many worker processes live. Who asks during a look gets the answer of that one.

        Raises ServiceUnavailable naming what does not answer, or after DEADLINE_S.
        """
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().run_in_executor(self._thread, self._count)
        try:
            async with asyncio.timeout(DEADLINE_S):
                # Shielded: the others go on waiting for it, and the next one must not begin before it ends.
                return await asyncio.shield(self._look)
        except TimeoutError:
            raise ServiceUnavailable(f"Store or broker did not answer within {DEADLINE_S} s.") from None

    async def close(self) -> None:
        """Look no more."""
        await end_threads(self._thread)

    def _count(self) -> int:
        with self._store.read() as connection:
            workers = leases.live_count(connection)
        try:
            self._publisher.ping()
        except BROKER_ERRORS as error:
            raise ServiceUnavailable(
                "The broker does not answer; what is dispatched starts later."
            ) from error
        return workers
