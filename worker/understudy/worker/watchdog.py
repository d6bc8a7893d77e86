"""The watchdog: a thread that waits for nothing, and notices what the others cannot tell while they hang."""

import asyncio
import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from understudy import faults
from understudy.domain.lifecycle import FailureKind
from understudy.store import Connection, guards, leases, lifecycle
from understudy.store.engine import Store
from understudy.worker.heartbeat import LeaseKeeper
from understudy.worker.runner import Runner

log = logging.getLogger(__name__)

#: Seconds between two looks.
TICK_S = 0.25
#: A process in which not even this thread gets to run for so many leases is ended from outside Python.
HANG_LEASE_MULTIPLE = 3
MIN_HANG_S = 20
#: Exit code of a process that a step has blocked: EX_SOFTWARE.
EXIT_STALLED = 70

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class LoopMonitor:
    """Does the loop get round, and if not, which task keeps it?

    A loop with much to do gets round slowly, but one task after the other; a loop that is stuck stays in one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._felt = True
        self._since = time.monotonic()
        #: The task that the loop was in at the last look.
        self.task: asyncio.Task[Any] | None = None

    def stalled_s(self) -> float:
        """Seconds for which the loop has been in one and the same task; 0 while it gets round.

        To be asked again and again, by one thread other than the loop's.
        """
        task = asyncio.current_task(self._loop)
        felt, moved = self._felt, task is not self.task
        self.task = task
        if felt or moved:
            self._since = time.monotonic()
        if felt:
            self._felt = False
            self._loop.call_soon_threadsafe(self._tick)
        return time.monotonic() - self._since

    def _tick(self) -> None:
        self._felt = True


class Watchdog:
    """Looks after one process until it is closed.

    - No word from the store for as long as a lease lasts: all steps are aborted, others may have them by now.
    - One step keeps the loop for `loop_stall_s`: nothing else here goes on, and no thread can interrupt it.
      Its participant fails, the others are given back, the process ends.
    - Nothing of Python runs any more, because code in C holds the interpreter: the process is ended, and the
      lease runs out.
    - It has grown beyond `max_memory_mb`: it is told to go, as by SIGTERM; 0 for no limit.
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
        self._go = request_shutdown
        self._monitor = LoopMonitor(runner.loop)
        self._loop_stall_s = loop_stall_s
        self._max_memory_mb = max_memory_mb
        self._hang_s = max(HANG_LEASE_MULTIPLE * keeper.ttl_s, MIN_HANG_S)
        self._lapsed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run_loop, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _run_loop(self) -> None:
        while not self._stop.wait(TICK_S):
            # Needs no interpreter to go off; every look puts it off.
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
            "%s blocked the event loop for %.1f s; this process ends",
            f"a step of participant {culprit.participant_id}" if culprit else "somebody unknown",
            stalled_s,
        )
        faulthandler.dump_traceback()
        try:
            with faults.fault_site("give_up.commit"):
                self._store.write(partial(self._fail_and_release, culprit=culprit))
        except Exception:
            # The lease runs out by itself, then.
            log.exception("nothing could be given back")
        logging.shutdown()
        os._exit(EXIT_STALLED)

    def _fail_and_release(self, connection: Connection, culprit: guards.Claim | None) -> None:
        # If nobody knows whose fault it is, everybody's loss counts: who does it again will be alone.
        claims = self._runner.claims().values() if culprit else ()
        for claim in sorted(claims):
            if claim == culprit:
                message = f"A step blocked its worker for more than the {self._loop_stall_s:g} s allowed."
                lifecycle.fail(connection, claim, FailureKind.STEP_TIMEOUT, message, 0)
            else:
                lifecycle.release(connection, claim, 0)
        leases.expire_lease(connection, self._keeper.worker_id)

    def _check_memory(self) -> None:
        if self._max_memory_mb and (used_mb := _memory_mb()) > self._max_memory_mb:
            log.warning("%d MB in use, %d allowed: this process goes", used_mb, self._max_memory_mb)
            # Once is enough.
            self._max_memory_mb = 0
            self._go()


def _memory_mb() -> int:
    """Memory that this process holds just now; 0 where the system does not tell."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return 0
    return pages * _PAGE_SIZE // 2**20
