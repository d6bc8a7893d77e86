"""The heartbeat: renews the lease of a worker process in the store, and reconciles its runs with their rows."""

import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol
from uuid import UUID, uuid4

from sqlalchemy import Connection

from understudy import faults
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.queues import WorkerKind
from understudy.store import leases, lifecycle
from understudy.store.engine import AnyRow, Store
from understudy.store.guards import Claim
from understudy.telemetry import metrics

log = logging.getLogger(__name__)

#: Seconds that a heartbeat may be late before the store counts as unavailable.
HEARTBEAT_GRACE_S = 2


class Runs(Protocol):
    """The runs of a process, as `Runner` has them."""

    def claims(self) -> Mapping[Any, Claim]: ...

    def pending_claims(self) -> Collection[UUID]: ...

    def abort(self, participant_ids: Iterable[UUID]) -> None: ...

    def abort_all(self) -> None: ...


class NoRuns:
    """The runs of a control worker."""

    def claims(self) -> Mapping[Any, Claim]:
        return {}

    def pending_claims(self) -> Collection[UUID]:
        return ()

    def abort(self, participant_ids: Iterable[UUID]) -> None:
        """Does nothing: there are none."""

    def abort_all(self) -> None:
        """Does nothing: there are none."""


class LeaseKeeper:
    """Holds the lease of this process: a new one per start, and another one if it expires.

    Its thread may block in the store for any time: other threads check `lease_valid_until`.

    Each heartbeat also covers lost aborts. It aborts runs that no longer run here according to the store. It
    releases participants that run here according to the store but have no run in this process.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        ttl_s: float,
        interval_s: float,
        kind: WorkerKind = WorkerKind.RUN,
        slots: int | None = None,
    ) -> None:
        self._store = store
        self._name = name
        self._kind = kind
        self._slots = slots
        self.ttl_s = ttl_s
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._unknown: set[Claim] = set()
        self._open()

    @property
    def worker_id(self) -> UUID:
        """Returns the lease for new claims."""
        return self._worker_id

    @property
    def is_store_reachable(self) -> bool:
        """Returns whether the last heartbeat was in time; if not, this process claims nothing."""
        renewed_at = self.lease_valid_until - self.ttl_s
        return time.monotonic() < renewed_at + self._interval_s + HEARTBEAT_GRACE_S

    def start(self, runner: Runs) -> None:
        """Starts the heartbeats for `runner`."""
        self._runner = runner
        self._thread = threading.Thread(target=self._heartbeat_loop, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops the heartbeats, releases remaining participants (no attempt) and ends the lease."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        try:
            with faults.fault_site("lease.commit"):
                self._store.write(self._end)
        except ServiceUnavailable:
            log.warning("store unavailable; the lease is not ended and will expire")

    def _open(self) -> None:
        worker_id, created_at = uuid4(), time.monotonic()
        with faults.fault_site("lease.commit"):
            self._store.write(
                lambda connection: leases.create_lease(
                    connection, worker_id, self._name, self.ttl_s, self._kind, self._slots
                )
            )
        # Set after the commit, so that no claim uses a missing lease.
        self._worker_id = worker_id
        #: Monotonic time until which the lease is certainly valid.
        self.lease_valid_until = created_at + self.ttl_s

    def _end(self, connection: Connection) -> None:
        # Claims whose commit was in doubt: they have no run in this process.
        for row in leases.running_claims(connection, self._worker_id):
            lifecycle.release(connection, Claim(row.id, row.epoch), claimed_ms=0)
        leases.expire_lease(connection, self._worker_id)

    def _heartbeat_loop(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._heartbeat()
            except ServiceUnavailable:
                log.warning("store unavailable; the next heartbeat will retry")
            except Exception:
                # The thread must survive: without heartbeats the lease expires.
                log.exception("heartbeat failed")

    def _heartbeat(self) -> None:
        # Read before the store: a claim made in between is checked by the next heartbeat.
        claims = self._runner.claims()
        renewed_at = time.monotonic()
        rows = self._renew()
        if rows is None:
            metrics.leases_lost.inc()
            log.warning("lease expired: aborting all steps, acquiring a new lease")
            self._runner.abort_all()
            self._open()
            return
        self.lease_valid_until = renewed_at + self.ttl_s
        running = {Claim(row.id, row.epoch) for row in rows}
        self._runner.abort([claim.participant_id for claim in claims.values() if claim not in running])
        self._release_orphans(running)

    def _renew(self) -> Sequence[AnyRow] | None:
        with faults.fault_site("heartbeat.commit"):
            alive = self._store.write(lambda connection: leases.renew_lease(connection, self._worker_id, self.ttl_s))
        if not alive:
            return None
        with self._store.read() as connection:
            return leases.running_claims(connection, self._worker_id)

    def _release_orphans(self, running: set[Claim]) -> None:
        """Releases participants that two heartbeats in a row find claimed here but without a run.

        A busy loop may take longer to learn of its claim; such a run counts as claiming.
        """
        # In this order: a run that gets its claim in between is in both sets.
        claiming = self._runner.pending_claims()
        known = set(self._runner.claims().values())
        unknown = {claim for claim in running - known if claim.participant_id not in claiming}
        for claim in unknown & self._unknown:
            log.warning("participant %s is claimed here but has no run: releasing it", claim.participant_id)
            with faults.fault_site("release.commit"):
                self._store.write(partial(lifecycle.release, claim=claim, claimed_ms=0))
        self._unknown = unknown
