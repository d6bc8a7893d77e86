"""The heartbeat: keeps a process's lease alive, and its runs in step with what the store says of them."""

import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from uuid import UUID, uuid4

from sqlalchemy import Connection

from understudy import faults
from understudy.domain.errors import ServiceUnavailable
from understudy.store import leases, lifecycle
from understudy.store.engine import AnyRow, Store
from understudy.store.guards import Claim
from understudy.telemetry import metrics
from understudy.worker.runner import Runner

log = logging.getLogger(__name__)

#: How late a heartbeat may be before the store is taken for out of reach.
HEARTBEAT_GRACE_S = 2


class LeaseKeeper:
    """Holds the lease of this process: a fresh one per start, and another if it ever ran out.

    It may hang in the store for as long as it likes: `lease_valid_until` tells others how far it got.

    Each beat also carries the cancels that no message brought: what the store no longer sees running here
    is aborted, and what it sees running here but nobody runs is given back.
    """

    def __init__(self, store: Store, name: str, *, ttl_s: float, interval_s: float) -> None:
        self._store = store
        self._name = name
        self.ttl_s = ttl_s
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._unknown: set[Claim] = set()
        self._open()

    @property
    def worker_id(self) -> UUID:
        """The lease to claim under now."""
        return self._worker_id

    @property
    def is_store_reachable(self) -> bool:
        """Did the store answer lately? Whoever is not in touch with it leaves messages to others."""
        renewed_at = self.lease_valid_until - self.ttl_s
        return time.monotonic() < renewed_at + self._interval_s + HEARTBEAT_GRACE_S

    def start(self, runner: Runner) -> None:
        """Begin to beat for `runner`."""
        self._runner = runner
        self._thread = threading.Thread(target=self._heartbeat_loop, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop beating and end the lease: whatever is still held is pending again, at no attempt."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        try:
            with faults.fault_site("lease.commit"):
                self._store.write(self._end)
        except ServiceUnavailable:
            log.warning("the lease could not be ended; it runs out by itself")

    def _open(self) -> None:
        worker_id, asked_at = uuid4(), time.monotonic()
        with faults.fault_site("lease.commit"):
            self._store.write(
                lambda connection: leases.create_lease(connection, worker_id, self._name, self.ttl_s)
            )
        # Not before it is there: until then nothing is claimed under it.
        self._worker_id = worker_id
        #: Monotonic time up to which the lease holds for certain.
        self.lease_valid_until = asked_at + self.ttl_s

    def _end(self, connection: Connection) -> None:
        # A claim whose answer never came: nobody here runs it.
        for row in leases.running_claims(connection, self._worker_id):
            lifecycle.release(connection, Claim(row.id, row.epoch), claimed_ms=0)
        leases.expire_lease(connection, self._worker_id)

    def _heartbeat_loop(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._heartbeat()
            except ServiceUnavailable:
                log.warning("store unavailable; the next heartbeat asks again")
            except Exception:
                # A beat that cannot beat must not die unnoticed: without it, the lease runs out.
                log.exception("a heartbeat failed")

    def _heartbeat(self) -> None:
        # Taken before the store is read: what is claimed in between is in neither, and looked at next time.
        ours = self._runner.claims()
        asked_at = time.monotonic()
        rows = self._renew()
        if rows is None:
            metrics.leases_lost.inc()
            log.warning("lease expired: aborting all steps, acquiring a new lease")
            self._runner.abort_all()
            self._open()
            return
        self.lease_valid_until = asked_at + self.ttl_s
        running = {Claim(row.id, row.epoch) for row in rows}
        self._runner.abort([claim.participant_id for claim in ours.values() if claim not in running])
        self._release_orphans(running)

    def _renew(self) -> Sequence[AnyRow] | None:
        with faults.fault_site("heartbeat.commit"):
            alive = self._store.write(
                lambda connection: leases.renew_lease(connection, self._worker_id, self.ttl_s)
            )
        if not alive:
            return None
        with self._store.read() as connection:
            return leases.running_claims(connection, self._worker_id)

    def _release_orphans(self, running: set[Claim]) -> None:
        """What nobody here runs for two beats in a row is released: its claim was written, its run is not.

        A loop that is busy may take longer than that to hear of a claim: its run is there to hear of it.
        """
        # In this order: whoever gets its claim in between is in both.
        claiming = self._runner.pending_claims()
        ours = set(self._runner.claims().values())
        unknown = {claim for claim in running - ours if claim.participant_id not in claiming}
        for claim in unknown & self._unknown:
            log.warning("participant %s runs here, but nobody runs it: released", claim.participant_id)
            with faults.fault_site("give_back.commit"):
                self._store.write(partial(lifecycle.release, claim=claim, claimed_ms=0))
        self._unknown = unknown
