"""Handles shutdown requests by SIGTERM and similar signals without blocking."""

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from understudy.queue.celery.worker import stop_consuming

log = logging.getLogger(__name__)

#: Exit code of a forced exit after a shutdown timed out.
EXIT_SHUTDOWN_TIMEOUT = 75

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class ShutdownSignal:
    """Records that this process must shut down; later requests change nothing.

    A signal handler can interrupt a thread that holds any lock. It therefore only sets a flag and puts into
    reentrant queues; another thread does the work.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._requests: SimpleQueue[bool] = SimpleQueue()
        self._wake_ups: SimpleQueue[bool] = SimpleQueue()

    def install(self) -> None:
        """Installs the signal handlers. Call it in the main thread."""
        for number in SIGNALS:
            signal.signal(number, self.request)
        # Lets operators dump the stacks of all threads.
        faulthandler.register(signal.SIGUSR1)

    def request(self, *_: object) -> None:
        """Requests the shutdown. Safe in signal handlers, also nested ones."""
        if not self.is_requested:
            self.is_requested = True
            stop_consuming()
            self._requests.put(True)
            self._wake_ups.put(True)

    def wait(self, timeout_s: float) -> bool:
        """Waits up to `timeout_s`; returns whether a shutdown is requested. For one thread, until True."""
        try:
            return self._wake_ups.get(timeout=timeout_s)
        except Empty:
            return False

    def on_request(self, begin: Callable[[], None] = lambda: None, *, timeout_s: float) -> None:
        """Calls `begin` in a thread after the request; forces the exit `timeout_s` after `begin` returns.

        A store or broker that accepts connections and never answers would otherwise block the shutdown
        forever. The sweeper recovers the remaining participants.
        """

        def wait() -> None:
            self._requests.get()
            begin()
            time.sleep(timeout_s)
            log.critical("shutdown timed out; forcing exit")
            logging.shutdown()
            os._exit(EXIT_SHUTDOWN_TIMEOUT)

        threading.Thread(target=wait, name="shutdown", daemon=True).start()
