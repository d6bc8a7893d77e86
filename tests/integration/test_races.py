"""Concurrent writes of one row: one succeeds, each caller gets the true result, and the rows agree."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, text, update

from tests.factories import StudyStore, at_once, make_ask, make_lease, make_step
from tests.servers import wait_until
from understudy.domain.lifecycle import FailureKind, Outcome
from understudy.store import asks, dispatch, leases, lifecycle, recovery, stops
from understudy.store.engine import Store, store_clock
from understudy.store.guards import Claim
from understudy.store.schema import Tables

_p = Tables.participant

#: Chance decides which write comes first; after this many rounds, both orders have occurred.
ROUNDS = 25


def repeated(rounds: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Runs a race again and again on one store."""

    def decorate(race: Callable[..., None]) -> Callable[..., None]:
        @wraps(race)
        def run(**fixtures: Any) -> None:
            for _ in range(rounds):
                race(**fixtures)

        return run

    return decorate


@pytest.fixture
def study(store: Store) -> StudyStore:
    return StudyStore(store)


@repeated(ROUNDS)
def test_cancel_against_claim(study: StudyStore) -> None:
    (id_,) = study.participants()
    claim, cancelled = at_once(lambda: study.claim(id_), lambda: study.cancel(id_))
    row = study.row(id_)
    assert cancelled == [id_]
    assert (row.status, row.epoch) == ("cancelled", 1 if claim else 0)
    assert row.worker_id == (study.worker_id if claim else None)


@repeated(ROUNDS)
def test_cancel_against_commits(study: StudyStore) -> None:
    claim = study.running()
    id_ = claim.participant_id
    commits, cancelled = at_once(lambda: [study.commit(claim, index) for index in range(4)], lambda: study.cancel(id_))
    row = study.row(id_)
    assert cancelled == [id_]
    assert commits == sorted(commits, reverse=True), "no commit succeeds after the cancel"
    assert (row.status, row.interaction_count) == ("cancelled", sum(commits))
    assert not study.commit(claim, row.interaction_count)


ENDS: dict[str, Callable[[Connection, Claim], bool]] = {
    "completed": lambda connection, claim: lifecycle.complete(connection, claim, Outcome.SUCCEEDED, 1),
    "completed with its last step": lambda connection, claim: lifecycle.commit_step(
        connection, claim, make_step(0, ends=True, outcome=Outcome.SUCCEEDED), 1
    ),
    "failed": lambda connection, claim: lifecycle.fail(connection, claim, FailureKind.STEP_TIMEOUT, "slow", 1),
}


@pytest.mark.parametrize("end", ENDS)
@repeated(ROUNDS)
def test_cancel_against_an_end(study: StudyStore, end: str) -> None:
    claim = study.running()
    id_ = claim.participant_id
    ended, cancelled = at_once(lambda: study.write(ENDS[end], claim), lambda: study.cancel(id_))
    assert ended == (not cancelled), "exactly one succeeds"
    row = study.row(id_)
    assert row.status == (end.split(maxsplit=1)[0] if ended else "cancelled")
    assert (row.outcome is None) == (not ended or end == "failed")


@repeated(ROUNDS)
def test_cancel_against_release(study: StudyStore) -> None:
    claim = study.running()
    id_ = claim.participant_id
    released, cancelled = at_once(lambda: study.write(lifecycle.release, claim, 1), lambda: study.cancel(id_))
    row = study.row(id_)
    assert (cancelled, row.status) == ([id_], "cancelled")
    # If the release came first, no worker holds the participant and its stop is recorded at once.
    assert (row.worker_id is None) == released


@repeated(ROUNDS)
def test_cancel_against_cancel(study: StudyStore) -> None:
    ids = [*study.participants(), study.running().participant_id]
    results = at_once(*[lambda: study.cancel(*ids)] * 3)
    assert sorted(id_ for result in results for id_ in result) == sorted(ids)
    assert [study.row(id_).status for id_ in ids] == ["cancelled"] * 2


@repeated(ROUNDS)
def test_cancel_against_extend(study: StudyStore) -> None:
    """A child exists only if its source was terminal; it inherits each interaction of its source."""
    claim = study.running()
    id_ = claim.participant_id
    committed, cancelled, child = at_once(
        lambda: study.commit(claim), lambda: study.cancel(id_), lambda: study.extend(id_)
    )
    assert cancelled == [id_]
    with study.store.read() as connection:
        children = connection.execute(select(_p).where(_p.c.extended_from == id_)).all()
    assert [(row.id, row.status, row.branched_at) for row in children] == (
        [(child.id, "pending", int(committed))] if child else []
    )


@repeated(ROUNDS)
def test_extend_against_extend(study: StudyStore) -> None:
    """Each creates a child; the source does not change."""
    claim = study.running()
    id_ = claim.participant_id
    study.commit(claim)
    study.cancel(id_)
    before = study.row(id_)
    children = at_once(*[lambda: study.extend(id_)] * 3)
    assert len({child.id for child in children}) == len({child.alias for child in children}) == 3
    assert [child.branched_at for child in children] == [1] * 3
    assert study.row(id_) == before


@repeated(5)
def test_round_against_round(study: StudyStore) -> None:
    ask_id, _ = make_ask(study.store, study.workspace_id, rounds=1, each=1)

    def open_round(connection: Connection) -> int | None:
        number = asks.open_round(connection, ask_id)
        if number is not None:
            asks.insert_round(connection, ask_id, number, question="Which one?", variants=["This."])
        return number

    # Each gets another number, until the ask has all its rounds.
    opened = [set(at_once(*[lambda: study.write(open_round)] * 2)) for _ in range(3)]
    assert opened == [{2, 3}, {4, 5}, {None}]
    assert [row.number for row in study.read(asks.rounds_of, ask_id)] == [1, 2, 3, 4, 5]


@repeated(ROUNDS)
def test_recovery_against_a_late_heartbeat(study: StudyStore) -> None:
    """Either the lease is renewed or its runs are recovered; the lease expires in the middle of it."""
    worker_id = make_lease(study.store)
    id_ = study.running(worker_id).participant_id
    expires_at = store_clock(random.uniform(-0.0015, 0.006))
    lease = update(Tables.lease).where(Tables.lease.c.id == worker_id).values(expires_at=expires_at)
    study.write(Connection.execute, lease)
    renewed, recovered = at_once(lambda: study.write(leases.renew_lease, worker_id, 60), study.recover)
    row = study.row(id_)
    assert recovered in ([], [id_])
    assert not (renewed and recovered)
    assert (row.status, row.attempt) == ("pending" if recovered else "running", len(recovered))
    # The next round recovers only its own participant.
    study.cancel(id_)


on_postgresql = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


def expire_soon(study: StudyStore, worker_id: UUID) -> None:
    lease = update(Tables.lease).where(Tables.lease.c.id == worker_id).values(expires_at=store_clock(0.3))
    study.write(Connection.execute, lease)


def wait_for_expiry(study: StudyStore, worker_id: UUID) -> None:
    wait_until(lambda: not study.read(leases.is_live, worker_id), what="the lease expires")


@on_postgresql
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


@on_postgresql
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


@repeated(ROUNDS)
def test_recovery_against_a_late_commit(study: StudyStore) -> None:
    worker_id = make_lease(study.store)
    claim = study.running(worker_id)
    study.expire_lease(worker_id)
    committed, recovered = at_once(lambda: study.commit(claim), study.recover)
    # Recovery skips a row that is locked; the next sweep finds it.
    assert (recovered or study.recover()) == [claim.participant_id]
    row = study.row(claim.participant_id)
    assert (row.status, row.interaction_count, row.attempt) == ("pending", int(committed), 1)
    assert not study.commit(claim, row.interaction_count)


@repeated(ROUNDS)
def test_recovery_against_cancel(study: StudyStore) -> None:
    worker_id = make_lease(study.store)
    id_ = study.running(worker_id).participant_id
    study.expire_lease(worker_id)
    recovered, cancelled = at_once(study.recover, lambda: study.cancel(id_))
    row = study.row(id_)
    assert cancelled == [id_]
    assert (row.status, row.attempt) == ("cancelled", len(recovered))


@repeated(ROUNDS // 5)
def test_recovery_against_recovery(study: StudyStore) -> None:
    worker_id = make_lease(study.store)
    ids = sorted(study.running(worker_id).participant_id for _ in range(5))
    study.expire_lease(worker_id)
    recovered = at_once(*[study.recover] * 3)
    assert sorted(id_ for batch in recovered for id_ in batch) == ids
    reserved = at_once(*[lambda: study.write(dispatch.reserve_messages, ids)] * 3)
    assert sorted(message.participant_id for batch in reserved for message in batch) == ids
    assert [(study.row(id_).attempt, study.row(id_).dispatch_no) for id_ in ids] == [(1, 1)] * 5


@repeated(ROUNDS)
def test_claim_against_claim(study: StudyStore) -> None:
    """A message that is delivered twice, or one of an earlier dispatch, claims nothing."""
    (id_,) = study.participants()
    workers = [make_lease(study.store) for _ in range(3)]
    claims = at_once(*(lambda worker=worker: study.claim(id_, worker) for worker in workers))
    (winner,) = [worker for worker, claim in zip(workers, claims, strict=True) if claim]
    row = study.row(id_)
    assert (row.status, row.epoch, row.worker_id) == ("running", 1, winner)
    study.write(lifecycle.release, Claim(id_, 1), 1)
    assert study.claim(id_, workers[0]) == Claim(id_, 2)
    assert study.claim(id_, workers[1]) is None


@repeated(ROUNDS)
def test_claim_against_the_end_of_its_lease(study: StudyStore) -> None:
    """The next sweep recovers a participant that was claimed just before its lease expired."""
    worker_id = make_lease(study.store)
    (id_,) = study.participants()
    claim, _ = at_once(lambda: study.claim(id_, worker_id), lambda: study.expire_lease(worker_id))
    assert study.recover() == ([id_] if claim else [])
    assert study.row(id_).status == "pending"
