"""Leases that expire while a renewal or a recovery is open, on PostgreSQL; SQLite runs its writers one by one."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, text, update

from tests.factories import StudyStore, make_lease
from tests.servers import wait_until
from understudy.store import leases, recovery, stops
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

pytestmark = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


@pytest.fixture
def study(store: Store) -> StudyStore:
    return StudyStore(store)


def expire_soon(study: StudyStore, worker_id: UUID) -> None:
    lease = update(Tables.lease).where(Tables.lease.c.id == worker_id).values(expires_at=store_clock(0.3))
    study.write(Connection.execute, lease)


def wait_for_expiry(study: StudyStore, worker_id: UUID) -> None:
    wait_until(lambda: not study.read(leases.is_live, worker_id), what="the lease expires")


def test_recovery_and_stops_leave_out_a_lease_whose_renewal_is_not_committed_yet(study: StudyStore) -> None:
    """The renewal began before the expiry; it may still succeed, and then its runs go on."""
    worker_id = make_lease(study.store)
    claim, cancelled = study.running(worker_id), study.running(worker_id).participant_id
    study.cancel(cancelled)
    expire_soon(study, worker_id)
    with study.store.engine.begin() as renewing:
        assert leases.renew_lease(renewing, worker_id, 60)
        wait_for_expiry(study, worker_id)
        assert study.recover() == []
        assert study.write(stops.record_stop, cancelled) == study.write(stops.record_stops, 60, 10) == []
    assert study.recover() == []
    assert study.write(stops.record_stops, 60, 10) == []
    assert study.commit(claim)


def test_renewal_that_waits_for_a_recovery_fails(study: StudyStore) -> None:
    """It found its lease live before it waited. PostgreSQL checks it again only if its row has changed."""
    worker_id = make_lease(study.store)
    id_ = study.running(worker_id).participant_id
    expire_soon(study, worker_id)
    with ThreadPoolExecutor(1) as other:
        with study.store.engine.begin() as recovering:
            recovering.execute(select(Tables.lease).filter_by(id=worker_id).with_for_update())
            renewal = other.submit(study.write, leases.renew_lease, worker_id, 60)
            wait_until(lambda: study.read(is_blocked), what="the renewal waits for the lock")
            wait_for_expiry(study, worker_id)
            assert recovery.recover_lost(recovering, 3, 10).resumed == [id_]
        assert renewal.result(60) is False


def is_blocked(connection: Connection) -> bool:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE lease%'"
    )
    return bool(connection.scalar(waiting))
