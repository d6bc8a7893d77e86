"""Being told to go: SIGTERM and its like, answered without waiting for anything."""

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

#: Exit code of a process that could not end in order.
EXIT_SHUTDOWN_TIMEOUT = 75

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class ShutdownSignal:
    """Is this process about to go? Told once or many times, it is the same.

    A signal handler runs in the very thread that may hold any lock just then, itself included: so there is a
    flag, and queues that may be put into at any point, and what is to be done is done by another thread.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._told: SimpleQueue[bool] = SimpleQueue()
        self._woken: SimpleQueue[bool] = SimpleQueue()

    def install(self) -> None:
        """From now on, signals tell it. To be called by the main thread."""
        for number in SIGNALS:
            signal.signal(number, self.request)
        # For operators: what is each thread doing just now?
        faulthandler.register(signal.SIGUSR1)

    def request(self, *_: object) -> None:
        """Go. Safe in a signal handler, and in a handler that interrupts one."""
        if not self.is_requested:
            self.is_requested = True
            stop_consuming()
            self._told.put(True)
            self._woken.put(True)

    def wait(self, timeout_s: float) -> bool:
        """Wait until told to go, or so long; was it told? To be asked by one thread, and once it says yes no
        more."""
        try:
            return self._woken.get(timeout=timeout_s)
        except Empty:
            return False

    def on_request(self, begin: Callable[[], None] = lambda: None, *, timeout_s: float) -> None:
        """Have `begin` called, in a thread of its own, once this process is told to go.

        If the process is still there `timeout_s` after that, it is ended: a store or a broker that takes
        connections and says nothing would hold it for ever. Leases and sweepers make good what it leaves.
        """

        def wait() -> None:
            self._told.get()
            begin()
            time.sleep(timeout_s)
            log.critical("shutdown timed out; forcing exit")
            logging.shutdown()
            os._exit(EXIT_SHUTDOWN_TIMEOUT)

        threading.Thread(target=wait, name="leaving", daemon=True).start()
