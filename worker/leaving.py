"""Being told to go: SIGTERM and its like, answered without waiting for anything."""

import faulthandler
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from celery import Celery
from celery.platforms import EX_OK
from celery.worker import state

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Leaving:
    """Is this process about to go? Told once or many times, it is the same.

    A signal handler runs in the very thread that may hold any lock just then, itself included: so there is a
    flag, and a queue that may be put into at any point, and what is to be done is done by another thread.
    """

    def __init__(self) -> None:
        self.now = False
        self._told: SimpleQueue[bool] = SimpleQueue()

    def tell(self, *_: object) -> None:
        """Go. Safe in a signal handler, and in a handler that interrupts one."""
        if not self.now:
            self.now = True
            # What Celery's own handlers set; but those send signals under a lock, and hang when nested.
            state.should_stop = EX_OK
            self._told.put(True)

    def then(self, begin: Callable[[], None]) -> None:
        """Have `begin` called, in a thread of its own, once this process is told to go."""

        def wait() -> None:
            self._told.get()
            begin()

        threading.Thread(target=wait, name="leaving", daemon=True).start()

    def worker_class(self, app: Celery) -> Any:
        """Celery's worker, with this as its signal handler."""

        class Worker(app.Worker):  # type: ignore[misc]
            """A worker that goes when it is told to, however often."""

            def install_platform_tweaks(inner, worker: Any) -> None:  # noqa: ARG002, N805
                for number in SIGNALS:
                    signal.signal(number, self.tell)
                # For operators: what is each thread doing just now?
                faulthandler.register(signal.SIGUSR1)

        return Worker
