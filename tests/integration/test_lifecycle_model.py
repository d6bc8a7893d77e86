"""The whole lifecycle against a plain model, on both stores: whatever happens, they agree."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from tests.factories import make_lease, make_participants, make_study, make_workspace
from tests.integration.test_store_lifecycle import make_step
from tests.invariants import check_invariants
from understudy.domain.lifecycle import FailureKind, Outcome
from understudy.store import dispatch, events, leases, lifecycle, recovery, stops
from understudy.store.engine import Store
from understudy.store.guards import Claim
from understudy.store.schema import Tables

MAX_ATTEMPTS = 3
TERMINAL = {"completed", "failed", "cancelled"}


@dataclass
class Model:
    """What a participant is, in plain words."""

    status: str = "pending"
    epoch: int = 0
    count: int = 0
    attempt: int = 0
    worker: UUID | None = None
    stopped: bool = False
    source: UUID | None = None
    cap: int = 30


class Lifecycle(RuleBasedStateMachine):
    """Every write is tried at any time by anybody who ever held a claim; the model says who may win."""

    store: Store
    participants = Bundle("participants")
    claims = Bundle("claims")
    workers = Bundle("workers")

    @initialize(target=participants, count=st.integers(1, 3), by_outbox=st.booleans())
    def begin(self, count: int, by_outbox: bool) -> Any:
        token = make_workspace(self.store, str(uuid4()))
        self.workspace_id = token.workspace_id
        study_id, (iteration_id,) = make_study(self.store, self.workspace_id)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events, "OUTBOX_THRESHOLD", 1 if by_outbox else count + 1)
            ids = make_participants(self.store, self.workspace_id, study_id, iteration_id, count, max_interactions=30)
        self.models = {id_: Model() for id_ in ids}
        self.alive: set[UUID] = set()
        return multiple(*ids)

    def write(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return self.store.write(lambda connection: work(connection, *arguments))

    def holds(self, claim: Claim) -> bool:
        model = self.models[claim.participant_id]
        return model.status == "running" and model.epoch == claim.epoch

    @rule(target=workers)
    def worker_starts(self) -> UUID:
        worker = make_lease(self.store, 3600)
        self.alive.add(worker)
        return worker

    @rule(worker=consumes(workers))
    def worker_is_lost(self, worker: UUID) -> None:
        self.write(leases.expire_lease, worker)
        self.alive.discard(worker)

    @rule(target=claims, id_=participants, worker=workers)
    def claim(self, id_: UUID, worker: UUID) -> Any:
        model = self.models[id_]
        row = self.write(lifecycle.claim, id_, worker)
        assert (row is not None) == (model.status == "pending" and worker in self.alive)
        if row is None:
            return multiple()
        self.models[id_] = replace(model, status="running", epoch=model.epoch + 1, worker=worker)
        assert row.epoch == model.epoch + 1
        return Claim(id_, row.epoch)

    @rule(claim=claims, ends=st.booleans(), ahead=st.integers(0, 1))
    def commit(self, claim: Claim, ends: bool, ahead: int) -> None:
        model = self.models[claim.participant_id]
        may = self.holds(claim) and ahead == 0 and model.count < model.cap
        if self.holds(claim) and model.count >= model.cap:
            return
        step = make_step(model.count + ahead, ends=ends, outcome=Outcome.SUCCEEDED if ends else None)
        assert self.write(lifecycle.commit_step, claim, step, 1) == may
        if may:
            status = "completed" if ends else "running"
            self.models[claim.participant_id] = replace(model, status=status, count=model.count + 1, attempt=0)

    @rule(claim=claims)
    def fail(self, claim: Claim) -> None:
        may = self.holds(claim)
        assert self.write(lifecycle.fail, claim, FailureKind.STEP_TIMEOUT, "slow", 1) == may
        if may:
            self.models[claim.participant_id].status = "failed"

    @rule(claim=claims)
    def release(self, claim: Claim) -> None:
        may = self.holds(claim)
        assert self.write(lifecycle.release, claim, 1) == may
        if may:
            model = self.models[claim.participant_id]
            self.models[claim.participant_id] = replace(model, status="pending", worker=None)

    @rule(limit=st.integers(1, 5))
    def positions_are_given(self, limit: int) -> None:
        self.write(events.assign_positions, limit)

    @rule(data=st.data(), by_outbox=st.booleans())
    def cancel_some(self, data: st.DataObject, by_outbox: bool) -> None:
        ids = data.draw(st.lists(st.sampled_from(list(self.models)), unique=True, min_size=1))
        active = {id_ for id_ in ids if self.models[id_].status in {"pending", "running"}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events, "OUTBOX_THRESHOLD", 1 if by_outbox else len(ids) + 1)
            assert set(self.write(lifecycle.cancel, self.workspace_id, ids)) == active
        for id_ in active:
            self.models[id_].status = "cancelled"

    @rule()
    def sweep(self) -> None:
        lost = {
            id_ for id_, model in self.models.items() if model.status == "running" and model.worker not in self.alive
        }
        resumed, gone = self.write(recovery.recover_lost, MAX_ATTEMPTS, 100)
        moved = {*resumed, *gone}
        # Earlier examples left theirs in the same store.
        assert moved & set(self.models) == lost
        for id_ in lost:
            model = self.models[id_]
            failed = model.attempt + 1 >= MAX_ATTEMPTS
            self.models[id_] = replace(
                model,
                status="failed" if failed else "pending",
                attempt=model.attempt + 1,
                worker=model.worker if failed else None,
            )

    @rule(target=participants, source=participants, steps=st.integers(1, 5))
    def extend(self, source: UUID, steps: int) -> Any:
        model = self.models[source]
        child = self.write(dispatch.insert_branch, self.workspace_id, source, steps, None)
        assert (child is not None) == (model.status in TERMINAL)
        if child is None:
            return multiple()
        self.models[child.id] = Model(count=model.count, source=source, cap=model.cap + steps)
        return child.id

    @rule(claim=claims)
    def run_tells_of_its_stop(self, claim: Claim) -> None:
        model = self.models[claim.participant_id]
        may = model.status == "cancelled" and not model.stopped and model.epoch == claim.epoch
        told = self.store.write(lambda connection: stops.record_stop(connection, claim.participant_id, claim=claim))
        assert bool(told) == may
        self.models[claim.participant_id].stopped |= may

    @rule(id_=participants)
    def stop_task(self, id_: UUID) -> None:
        model = self.models[id_]
        may = model.status == "cancelled" and not model.stopped and model.worker not in self.alive
        assert bool(self.write(stops.record_stop, id_)) == may
        self.models[id_].stopped |= may

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        if not hasattr(self, "models"):
            return
        with self.store.read() as connection:
            rows = connection.execute(select(Tables.participant).where(Tables.participant.c.id.in_(self.models)))
            for row in rows:
                model = self.models[row.id]
                told = (row.status, row.epoch, row.interaction_count, row.attempt, row.worker_id)
                assert told == (model.status, model.epoch, model.count, model.attempt, model.worker)
                assert (row.stopped_at is not None) == model.stopped
                assert (row.extended_from, row.max_interactions) == (model.source, model.cap)

    def teardown(self) -> None:
        check_invariants(self.store)


@pytest.mark.timeout(300)
def test_whatever_happens_the_rows_are_what_the_model_says(store: Store) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        type("Bound", (Lifecycle,), {"store": store}),
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
