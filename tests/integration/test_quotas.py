"""Quotas in the store: concurrent dispatches cannot pass together, and stored bytes are what the rows hold."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, LargeBinary, String, cast, func, select, update

from tests.factories import StudyStore, at_once
from tests.open_transaction import OpenTransaction
from tests.parameters import on_postgresql
from understudy.domain.errors import UsageLimitReached
from understudy.sequencer import assign_positions
from understudy.store import prune, quotas
from understudy.store.engine import Store, store_time
from understudy.store.prune import RetentionFilter
from understudy.store.schema import Tables

_use = Tables.quota_use


@pytest.fixture
def study(store: Store) -> StudyStore:
    return StudyStore(store)


def charge(study: StudyStore, count: int, limit: int) -> bool:
    try:
        study.write(quotas.charge_participants, study.workspace_id, count, limit, study.read(store_time))
    except UsageLimitReached:
        return False
    return True


def test_concurrent_charges_stay_within_the_quota(study: StudyStore) -> None:
    assert sum(at_once(*[lambda: charge(study, 3, 10)] * 6)) == 3
    assert study.read(quotas.participants_today, study.workspace_id) == 9


def test_charge_over_the_quota_names_figure_use_and_end(study: StudyStore) -> None:
    assert charge(study, 4, 5)
    with pytest.raises(UsageLimitReached, match=r"participants_per_day .* is 5; 4 are used and 2 more.* midnight"):
        study.write(quotas.charge_participants, study.workspace_id, 2, 5, study.read(store_time))
    assert charge(study, 1, 5)


def test_charge_without_a_quota_counts_for_a_later_one(study: StudyStore) -> None:
    assert charge(study, 7, 0)
    assert not charge(study, 1, 7)


def test_charge_on_the_next_day_begins_again(study: StudyStore) -> None:
    assert charge(study, 5, 5)
    study.store.write(lambda connection: connection.execute(update(_use).values(day="2026-01-01")))
    assert study.read(quotas.participants_today, study.workspace_id) == 0
    assert charge(study, 5, 5)


def length(store: Store, column: Any) -> Any:
    if store.url.get_backend_name() == "postgresql":
        return func.octet_length(cast(column, String))
    return func.length(cast(column, LargeBinary))


def bytes_of(store: Store) -> int:
    columns = [
        Tables.event.c.data,
        *(Tables.interaction.c[name] for name in ("observation", "thought", "action", "result")),
        Tables.checkpoint.c.state,
    ]
    with store.read() as connection:
        return sum(connection.scalar(select(func.sum(length(store, column)))) or 0 for column in columns)


def finish(study: StudyStore, *thoughts: str) -> UUID:
    claim = study.must_claim(study.participants()[0])
    for index, thought in enumerate(thoughts):
        assert study.commit(claim, index, thought=thought)
    study.cancel(claim.participant_id)
    return claim.participant_id


def measured(study: StudyStore) -> int:
    assign_positions(study.store)
    quotas.measure_all(study.store, study.workspace_id, 100)
    return study.read(quotas.stored_bytes, study.workspace_id)


def test_measure_adds_what_rows_of_ended_participants_hold(study: StudyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "MEASURED_EVENTS", 2)
    finish(study, "Größe", "x" * 1_000)
    first = measured(study)
    assert first == bytes_of(study.store) > 1_000
    assert measured(study) == first
    finish(study, "another")
    assert measured(study) == bytes_of(study.store) > first


@on_postgresql
def test_concurrent_measurements_add_events_once(study: StudyStore) -> None:
    measured(study)
    finish(study, "one", "two")
    assign_positions(study.store)
    measure = partial(measure_and_succeed, workspace_id=study.workspace_id)
    with ThreadPoolExecutor(2) as threads:
        first = OpenTransaction(study.store, threads, measure)
        assert first.meet_locks() == "passes"
        second = OpenTransaction(study.store, threads, measure)
        assert second.meet_locks() == "waits"
        assert first.end()
        assert second.end()
    assert study.read(quotas.stored_bytes, study.workspace_id) == bytes_of(study.store)


def measure_and_succeed(connection: Connection, workspace_id: UUID) -> bool:
    quotas.measure(connection, workspace_id)
    return True


def test_prune_takes_back_what_was_measured(study: StudyStore) -> None:
    old = finish(study, "old" * 100)
    measured(study)
    # The workspace's newest event stays.
    finish(study, "kept")
    study.store.write(lambda connection: connection.execute(update(Tables.participant).values(stopped_at=func.now())))
    assert measured(study) == bytes_of(study.store)
    ended_before = study.read(store_time, 60)
    rule = RetentionFilter(study.workspace_id, ended_before)
    pruned = study.store.write(partial(prune.prune, old=rule, ids=[old], removed_ids=(), dry_run=False))
    assert pruned.removed == [old]
    assert study.read(quotas.stored_bytes, study.workspace_id) == bytes_of(study.store)


def test_check_stored_bytes_over_the_quota_measures_first(study: StudyStore) -> None:
    finish(study, "x" * 2_000)
    assign_positions(study.store)
    study.write(quotas.check_stored_bytes, study.workspace_id, 0)
    study.write(quotas.check_stored_bytes, study.workspace_id, 1_000_000)
    with pytest.raises(UsageLimitReached, match=r"stored_bytes .* is 1,000; 2,.* are used"):
        study.write(quotas.check_stored_bytes, study.workspace_id, 1_000)
