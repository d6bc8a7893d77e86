"""The lifecycle against a plain model, on both stores: after any sequence of writes, both agree."""

from dataclasses import dataclass
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

from tests.factories import StudyStore, make_lease, make_step
from tests.invariants import check_invariants
from understudy.domain.lifecycle import TERMINAL, FailureKind, Outcome
from understudy.store import events, leases, lifecycle, recovery, stops
from understudy.store.engine import Store
from understudy.store.guards import Claim
from understudy.store.schema import Tables

MAX_ATTEMPTS = 3


@dataclass
class Model:
    """The expected row of a participant."""

    status: str = "pending"
    epoch: int = 0
    count: int = 0
    attempt: int = 0
    worker: UUID | None = None
    stopped: bool = False
    source: UUID | None = None
    cap: int = 30


class Lifecycle(RuleBasedStateMachine):
    """Each write is tried at any time with each claim that ever existed; the model says which succeed."""

    store: Store
    participants = Bundle("participants")
    claims = Bundle("claims")
    workers = Bundle("workers")

    @initialize(target=participants, count=st.integers(1, 3), by_outbox=st.booleans())
    def begin(self, count: int, by_outbox: bool) -> Any:
        self.study = StudyStore(self.store, str(uuid4()))
        self.write = self.study.write
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events, "OUTBOX_THRESHOLD", 1 if by_outbox else count + 1)
            ids = self.study.participants(count, max_interactions=30)
        self.models = {id_: Model() for id_ in ids}
        self.alive: set[UUID] = set()
        return multiple(*ids)

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

    @rule(target=claims, id_=participants, worker=workers, quarantine=st.booleans())
    def claim(self, id_: UUID, worker: UUID, quarantine: bool) -> Any:
        model = self.models[id_]
        claim = self.study.claim(id_, worker, quarantine=quarantine)
        if not (model.status == "pending" and worker in self.alive and (quarantine or model.attempt < 2)):
            assert claim is None
            return multiple()
        model.status, model.epoch, model.worker = "running", model.epoch + 1, worker
        assert claim == Claim(id_, model.epoch)
        return claim

    @rule(claim=claims, ends=st.booleans(), ahead=st.integers(0, 1))
    def commit(self, claim: Claim, ends: bool, ahead: int) -> None:
        model = self.models[claim.participant_id]
        may = self.holds(claim) and ahead == 0 and model.count < model.cap
        if self.holds(claim) and model.count >= model.cap:
            return
        step = make_step(model.count + ahead, ends=ends, outcome=Outcome.SUCCEEDED if ends else None)
        assert self.write(lifecycle.commit_step, claim, step, 1) == may
        if may:
            model.status = "completed" if ends else "running"
            model.count, model.attempt = model.count + 1, 0

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
            model.status, model.worker = "pending", None

    @rule(limit=st.integers(1, 5))
    def assign_positions(self, limit: int) -> None:
        self.write(events.assign_positions, limit)

    @rule(data=st.data(), by_outbox=st.booleans())
    def cancel_some(self, data: st.DataObject, by_outbox: bool) -> None:
        ids = data.draw(st.lists(st.sampled_from(list(self.models)), unique=True, min_size=1))
        active = {id_ for id_ in ids if self.models[id_].status in {"pending", "running"}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(events, "OUTBOX_THRESHOLD", 1 if by_outbox else len(ids) + 1)
            assert set(self.study.cancel(*ids)) == active
        for id_ in active:
            self.models[id_].status = "cancelled"

    @rule()
    def sweep(self) -> None:
        lost = {
            id_: model
            for id_, model in self.models.items()
            if model.status == "running" and model.worker not in self.alive
        }
        resumed, failed = self.write(recovery.recover_lost, MAX_ATTEMPTS, 100)
        # The same store has the participants of earlier examples.
        assert {*resumed, *failed} & set(self.models) == set(lost)
        for model in lost.values():
            model.attempt += 1
            if model.attempt >= MAX_ATTEMPTS:
                model.status = "failed"
            else:
                model.status, model.worker = "pending", None

    @rule(target=participants, source=participants, steps=st.integers(1, 5))
    def extend(self, source: UUID, steps: int) -> Any:
        model = self.models[source]
        child = self.study.extend(source, steps)
        assert (child is not None) == (model.status in TERMINAL)
        if child is None:
            return multiple()
        self.models[child.id] = Model(count=model.count, source=source, cap=model.cap + steps)
        return child.id

    @rule(claim=claims)
    def run_records_its_stop(self, claim: Claim) -> None:
        model = self.models[claim.participant_id]
        may = model.status == "cancelled" and not model.stopped and model.epoch == claim.epoch
        assert bool(self.write(stops.record_stop, claim.participant_id, claim=claim)) == may
        model.stopped |= may

    @rule(id_=participants)
    def stop_task(self, id_: UUID) -> None:
        model = self.models[id_]
        may = model.status == "cancelled" and not model.stopped and model.worker not in self.alive
        assert bool(self.write(stops.record_stop, id_)) == may
        model.stopped |= may

    @invariant()
    def rows_agree_with_the_model(self) -> None:
        with self.store.read() as connection:
            rows = connection.execute(select(Tables.participant).where(Tables.participant.c.id.in_(self.models)))
            for row in rows:
                model = self.models[row.id]
                stored = Model(
                    *(row.status, row.epoch, row.interaction_count, row.attempt, row.worker_id),
                    *(row.stopped_at is not None, row.extended_from, row.max_interactions),
                )
                assert stored == model

    def teardown(self) -> None:
        check_invariants(self.store)


@pytest.mark.timeout(300)
def test_after_any_writes_the_rows_agree_with_the_model(store: Store) -> None:
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
