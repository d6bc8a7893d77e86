"""The watchdog: a thread that ends a process whose event loop or interpreter is blocked, or whose lease expired."""

import asyncio
import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from understudy import faults
from understudy.domain.lifecycle import FailureKind
from understudy.store import Connection, guards, leases, lifecycle
from understudy.store.engine import Store
from understudy.worker.heartbeat import LeaseKeeper
from understudy.worker.run_usage import resident_mb
from understudy.worker.runner import Runner

log = logging.getLogger(__name__)

#: Seconds between two checks.
TICK_S = 0.25
#: If even this thread cannot run for this many lease lifetimes, faulthandler ends the process.
HANG_LEASE_MULTIPLE = 3
MIN_HANG_S = 20
#: Exit code of a process whose event loop a step blocked: EX_SOFTWARE.
EXIT_STALLED = 70
#: A run counts a loss for memory if its steps made the process grow by this part of the limit.
GROWTH_PART = 4


class LoopMonitor:
    """Measures for how long one task blocks the event loop.

    A busy loop turns slowly but changes tasks; a blocked loop stays in one task.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticked = True
        self._since = time.monotonic()
        #: The current task of the loop at the last check.
        self.task: asyncio.Task[Any] | None = None

    def stalled_s(self) -> float:
        """Returns the seconds for which the loop has been in the same task; about 0 while it turns.

        Call it repeatedly, in one thread other than the loop's.
        """
        task = asyncio.current_task(self._loop)
        ticked, changed = self._ticked, task is not self.task
        self.task = task
        if ticked or changed:
            self._since = time.monotonic()
        if ticked:
            self._ticked = False
            self._loop.call_soon_threadsafe(self._tick)
        return time.monotonic() - self._since

    def _tick(self) -> None:
        self._ticked = True


class Watchdog:
    """Watches one process until it is closed.

    - No successful heartbeat for a lease lifetime: it aborts all steps, because other workers may claim them.
    - One step blocks the loop for `loop_stall_s`, and no thread can interrupt it: the participant fails, the
      watchdog releases the others and exits the process.
    - C code holds the interpreter, so no Python code runs: faulthandler exits the process, and the lease
      expires.
    - Memory exceeds `max_memory_mb` (0: no limit): it requests a shutdown, like SIGTERM. The run that made the
      process grow is aborted and counts a loss; the others are released.
    """

    def __init__(
        self,
        store: Store,
        keeper: LeaseKeeper,
        runner: Runner,
        request_shutdown: Callable[[], None],
        *,
        loop_stall_s: float,
        max_memory_mb: int,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._runner = runner
        self._request_shutdown = request_shutdown
        self._monitor = LoopMonitor(runner.loop)
        self._loop_stall_s = loop_stall_s
        self._max_memory_mb = max_memory_mb
        self._hang_s = max(HANG_LEASE_MULTIPLE * keeper.ttl_s, MIN_HANG_S)
        self._lapsed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run_loop, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops the checks."""
        self._stop.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _run_loop(self) -> None:
        while not self._stop.wait(TICK_S):
            # This timer fires without the interpreter; each check restarts it.
            faulthandler.dump_traceback_later(self._hang_s, exit=True)
            self._check_lease()
            self._check_loop()
            self._check_memory()

    def _check_lease(self) -> None:
        lapsed = time.monotonic() > self._keeper.lease_valid_until
        if lapsed and not self._lapsed:
            log.warning("no successful heartbeat for %g s: aborting all steps", self._keeper.ttl_s)
            self._runner.abort_all()
        self._lapsed = lapsed

    def _check_loop(self) -> None:
        stalled_s = self._monitor.stalled_s()
        if stalled_s > self._loop_stall_s:
            self._exit_stalled(stalled_s)

    def _exit_stalled(self, stalled_s: float) -> None:
        culprit = self._runner.claim_of(self._monitor.task)
        log.critical(
            "%s blocked the event loop for %.1f s; exiting",
            f"a step of participant {culprit.participant_id}" if culprit else "an unknown task",
            stalled_s,
        )
        faulthandler.dump_traceback()
        try:
            with faults.fault_site("watchdog_release.commit"):
                self._store.write(partial(self._fail_and_release, culprit=culprit))
        except Exception:
            # The lease expires, and the sweeper recovers the participants.
            log.exception("cannot release the participants")
        logging.shutdown()
        os._exit(EXIT_STALLED)

    def _fail_and_release(self, connection: Connection, culprit: guards.Claim | None) -> None:
        # If the blocking run is unknown, all runs count a loss: a repeat leads to the quarantine queue.
        claims = self._runner.claims().values() if culprit else ()
        for claim in sorted(claims):
            if claim == culprit:
                message = f"A step blocked its worker for more than the {self._loop_stall_s:g} s allowed."
                lifecycle.fail(connection, claim, FailureKind.STEP_TIMEOUT, message, 0)
            else:
                lifecycle.release(connection, claim, 0)
        leases.expire_lease(connection, self._keeper.worker_id)

    def _check_memory(self) -> None:
        if self._max_memory_mb and (used_mb := resident_mb()) > self._max_memory_mb:
            culprit = self._runner.lose_largest(self._max_memory_mb // GROWTH_PART)
            log.warning(
                "%d MB in use, %d allowed; shutting down; %s",
                used_mb,
                self._max_memory_mb,
                f"most of the growth came with participant {culprit}" if culprit else "no run stands out",
            )
            # Request only once.
            self._max_memory_mb = 0
            self._request_shutdown()
