"""Two at once on one row, again and again: one wins, both are told the truth, and the rows agree."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, update

from tests.factories import make_ask, make_lease, make_participants, make_study, make_workspace
from tests.integration.test_store_lifecycle import make_step
from understudy.domain.lifecycle import FailureKind, Outcome
from understudy.store import asks, dispatch, leases, lifecycle, recovery
from understudy.store.engine import Store, store_clock
from understudy.store.guards import Claim
from understudy.store.schema import Tables

_p = Tables.participant
_lease = Tables.lease

#: Which of two comes first is chance; so often that both orders turn up.
ROUNDS = 25


class Rivals(NamedTuple):
    """A study of participants to be fought over, a new one for every round."""

    store: Store
    workspace_id: UUID
    study_id: UUID
    iteration_id: UUID

    def write(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self.store.write(lambda connection: work(connection, *arguments, **options))

    def pending(self) -> UUID:
        (id_,) = make_participants(self.store, self.workspace_id, self.study_id, self.iteration_id, max_interactions=50)
        return id_

    def running(self, worker_id: UUID | None = None) -> Claim:
        row = self.write(lifecycle.claim, self.pending(), worker_id or make_lease(self.store))
        return Claim(row.id, row.epoch)

    def row(self, id_: UUID) -> Any:
        with self.store.read() as connection:
            return connection.execute(select(_p).where(_p.c.id == id_)).one()

    def cancel(self, id_: UUID) -> bool:
        return self.write(lifecycle.cancel, self.workspace_id, [id_]).keys() == {id_}

    def extend(self, id_: UUID) -> Any:
        return self.write(dispatch.insert_branch, self.workspace_id, id_, 5, None)

    def recover(self) -> list[UUID]:
        lost = self.write(recovery.recover_lost, 3, 100)
        return [*lost.resumed, *lost.failed]


@pytest.fixture
def rivals(store: Store) -> Rivals:
    workspace_id = make_workspace(store).workspace_id
    study_id, (iteration_id,) = make_study(store, workspace_id)
    return Rivals(store, workspace_id, study_id, iteration_id)


def race(*works: Callable[[], Any]) -> Sequence[Any]:
    """What each got, all having begun at the same moment."""
    answers: list[Any] = [None] * len(works)
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def begin(number: int, work: Callable[[], Any]) -> None:
        try:
            barrier.wait(30)
            answers[number] = work()
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=begin, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return answers


def test_cancel_against_claim(rivals: Rivals) -> None:
    worker_id = make_lease(rivals.store)
    for _ in range(ROUNDS):
        id_ = rivals.pending()
        claimed, cancelled = race(
            lambda id_=id_: rivals.write(lifecycle.claim, id_, worker_id), lambda id_=id_: rivals.cancel(id_)
        )
        # Claimed first it is cancelled while it runs; cancelled first there is nothing to claim.
        row = rivals.row(id_)
        assert cancelled
        assert (row.status, row.epoch) == ("cancelled", 1 if claimed else 0)
        assert row.worker_id == (worker_id if claimed else None)


def test_cancel_against_commit(rivals: Rivals) -> None:
    for _ in range(ROUNDS):
        claim = rivals.running()
        committed, cancelled = race(
            lambda claim=claim: rivals.write(lifecycle.commit_step, claim, make_step(0), 1),
            lambda claim=claim: rivals.cancel(claim.participant_id),
        )
        row = rivals.row(claim.participant_id)
        assert cancelled
        assert (row.status, row.interaction_count) == ("cancelled", int(committed))
        assert not rivals.write(lifecycle.commit_step, claim, make_step(row.interaction_count), 1)


ENDS: dict[str, Callable[[Connection, Claim], bool]] = {
    "completed": lambda connection, claim: lifecycle.complete(connection, claim, Outcome.SUCCEEDED, 1),
    "completed with its last step": lambda connection, claim: lifecycle.commit_step(
        connection, claim, make_step(0, ends=True, outcome=Outcome.SUCCEEDED), 1
    ),
    "failed": lambda connection, claim: lifecycle.fail(connection, claim, FailureKind.STEP_TIMEOUT, "slow", 1),
}


@pytest.mark.parametrize("end", ENDS)
def test_cancel_against_an_end(rivals: Rivals, end: str) -> None:
    for _ in range(ROUNDS):
        claim = rivals.running()
        ended, cancelled = race(
            lambda claim=claim: rivals.write(ENDS[end], claim),
            lambda claim=claim: rivals.cancel(claim.participant_id),
        )
        assert ended != cancelled, "one of them, and not both"
        row = rivals.row(claim.participant_id)
        assert row.status == (end.split(maxsplit=1)[0] if ended else "cancelled")
        assert (row.outcome is None) == (cancelled or end == "failed")


def test_cancel_against_release(rivals: Rivals) -> None:
    for _ in range(ROUNDS):
        claim = rivals.running()
        released, cancelled = race(
            lambda claim=claim: rivals.write(lifecycle.release, claim, 1),
            lambda claim=claim: rivals.cancel(claim.participant_id),
        )
        row = rivals.row(claim.participant_id)
        assert cancelled
        assert row.status == "cancelled"
        # Released first, nobody holds it any more, and its stop is known at once.
        assert (row.worker_id is None) == released


def test_cancel_against_cancel(rivals: Rivals) -> None:
    for _ in range(ROUNDS):
        ids = [rivals.pending(), rivals.running().participant_id]
        answers = race(*[lambda ids=ids: rivals.write(lifecycle.cancel, rivals.workspace_id, ids)] * 3)
        assert sorted(id_ for answer in answers for id_ in answer) == sorted(ids)
        assert {rivals.row(id_).status for id_ in ids} == {"cancelled"}


def test_cancel_against_extend(rivals: Rivals) -> None:
    """A child exists only of a terminal source, with all that it did before it was cancelled."""
    for _ in range(ROUNDS):
        claim = rivals.running()
        committed, cancelled, child = race(
            lambda claim=claim: rivals.write(lifecycle.commit_step, claim, make_step(0), 1),
            lambda claim=claim: rivals.cancel(claim.participant_id),
            lambda claim=claim: rivals.extend(claim.participant_id),
        )
        assert cancelled
        if child is not None:
            assert (child.status, child.branched_at) == ("pending", int(committed))
        with rivals.store.read() as connection:
            children = connection.scalars(select(_p.c.id).where(_p.c.extended_from == claim.participant_id)).all()
        assert children == ([] if child is None else [child.id])


def test_extend_against_extend(rivals: Rivals) -> None:
    """Each makes a child of its own; the source is as it was."""
    for _ in range(ROUNDS):
        claim = rivals.running()
        rivals.write(lifecycle.commit_step, claim, make_step(0), 1)
        rivals.cancel(claim.participant_id)
        before = rivals.row(claim.participant_id)
        children = race(*[lambda claim=claim: rivals.extend(claim.participant_id)] * 3)
        assert len({child.id for child in children}) == len({child.alias for child in children}) == 3
        assert {child.branched_at for child in children} == {1}
        assert rivals.row(claim.participant_id) == before


def test_round_against_round(rivals: Rivals) -> None:
    def begin(ask_id: UUID) -> int | None:
        def work(connection: Connection) -> int | None:
            number = asks.open_round(connection, ask_id)
            if number is not None:
                asks.insert_round(connection, ask_id, number, question="Which one?", variants=["This."])
            return number

        return rivals.store.write(work)

    for _ in range(5):
        ask_id, _ = make_ask(rivals.store, rivals.workspace_id, rounds=1, each=1)
        # Each gets a number of its own, until there are no more.
        for expected in ({2, 3}, {4, 5}, {None}):
            assert set(race(*[lambda ask_id=ask_id: begin(ask_id)] * 2)) == expected
        with rivals.store.read() as connection:
            assert [row.number for row in asks.rounds_of(connection, ask_id)] == [1, 2, 3, 4, 5]


def test_recovery_against_a_late_heartbeat(rivals: Rivals) -> None:
    """A lease is renewed or its runs are taken away, never both; the lease runs out in the middle of it."""
    for number in range(ROUNDS):
        worker_id = make_lease(rivals.store)
        claim = rivals.running(worker_id)
        # From 6 ms before its end on, in small steps.
        rivals.store.write(
            lambda connection, id_=worker_id, left_s=0.006 - number * 0.0003: connection.execute(
                update(_lease).where(_lease.c.id == id_).values(expires_at=store_clock(left_s))
            )
        )
        renewed, recovered = race(lambda id_=worker_id: rivals.write(leases.renew_lease, id_, 60), rivals.recover)
        row = rivals.row(claim.participant_id)
        assert recovered in ([], [claim.participant_id])
        assert not (renewed and recovered)
        assert row.status == ("pending" if recovered else "running")
        assert row.attempt == len(recovered)
        if not recovered:
            rivals.cancel(claim.participant_id)


def test_recovery_against_a_late_commit(rivals: Rivals) -> None:
    for _ in range(ROUNDS):
        worker_id = make_lease(rivals.store)
        claim = rivals.running(worker_id)
        rivals.write(leases.expire_lease, worker_id)
        committed, recovered = race(
            lambda claim=claim: rivals.write(lifecycle.commit_step, claim, make_step(0), 1), rivals.recover
        )
        # Skipped because somebody was just writing it, it is found the next time.
        recovered = recovered or rivals.recover()
        row = rivals.row(claim.participant_id)
        assert recovered == [claim.participant_id]
        assert (row.status, row.interaction_count, row.attempt) == ("pending", int(committed), 1)
        assert not rivals.write(lifecycle.commit_step, claim, make_step(row.interaction_count), 1)


def test_recovery_against_cancel(rivals: Rivals) -> None:
    for _ in range(ROUNDS):
        worker_id = make_lease(rivals.store)
        claim = rivals.running(worker_id)
        rivals.write(leases.expire_lease, worker_id)
        recovered, cancelled = race(rivals.recover, lambda claim=claim: rivals.cancel(claim.participant_id))
        row = rivals.row(claim.participant_id)
        assert cancelled
        assert (row.status, row.attempt) == ("cancelled", len(recovered))


def test_two_sweepers(rivals: Rivals) -> None:
    for _ in range(ROUNDS // 5):
        worker_id = make_lease(rivals.store)
        ids = {rivals.running(worker_id).participant_id for _ in range(5)}
        rivals.write(leases.expire_lease, worker_id)
        moved = race(*[rivals.recover] * 3)
        assert sorted(id_ for some in moved for id_ in some) == sorted(ids)
        assert {rivals.row(id_).attempt for id_ in ids} == {1}
        owned = race(*[lambda ids=ids: rivals.write(dispatch.reserve_messages, list(ids))] * 3)
        assert sorted(one.participant_id for some in owned for one in some) == sorted(ids)
        assert {rivals.row(id_).dispatch_no for id_ in ids} == {1}


def test_two_messages_for_one(rivals: Rivals) -> None:
    """The same one twice, or one of an earlier dispatch: whoever claims first has it."""
    workers = [make_lease(rivals.store) for _ in range(3)]
    for _ in range(ROUNDS):
        id_ = rivals.pending()
        claims = race(*[lambda id_=id_, w=worker: rivals.write(lifecycle.claim, id_, w) for worker in workers])
        (winner,) = [row for row in claims if row is not None]
        row = rivals.row(id_)
        assert (row.status, row.epoch, row.worker_id) == ("running", 1, winner.worker_id)
        # It goes on elsewhere; then the stale message comes.
        rivals.write(lifecycle.release, Claim(id_, 1), 1)
        assert rivals.write(lifecycle.claim, id_, workers[0]).epoch == 2
        assert rivals.write(lifecycle.claim, id_, workers[1]) is None


def test_a_claim_against_the_end_of_its_lease(rivals: Rivals) -> None:
    """Claimed on a lease that ends just then, it is found and taken up by the next sweep."""
    for _ in range(ROUNDS):
        worker_id, id_ = make_lease(rivals.store), rivals.pending()
        claimed, _ = race(
            lambda id_=id_, w=worker_id: rivals.write(lifecycle.claim, id_, w),
            lambda w=worker_id: rivals.write(leases.expire_lease, w),
        )
        assert rivals.recover() == ([id_] if claimed else [])
        assert rivals.row(id_).status == "pending"


def test_a_write_whose_process_was_frozen_for_too_long_is_begun_anew(store: Store) -> None:
    """Its locks were taken from it, so that others could go on; nobody is told of an error."""
    tries: list[int] = []

    def work(connection: Connection) -> int:
        tries.append(len(tries))
        connection.execute(select(1))
        if len(tries) == 1:
            time.sleep(1.5)
        return connection.execute(select(7)).scalar_one()

    url = store.url.render_as_string(hide_password=False)
    impatient = Store(url, idle_timeout_s=0.2)
    try:
        assert impatient.write(work) == 7
    finally:
        impatient.dispose()
    # SQLite takes nothing from anybody.
    assert len(tries) == (2 if store.url.get_backend_name() == "postgresql" else 1)
