"""The retention of workspaces, and deletions in several transactions, on both stores."""

import logging
import threading
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, update

from tests.factories import at_once, make_ask
from tests.http_client import ApiClient
from tests.integration.test_prune import USED, History
from tests.parameters import one_store
from understudy.domain.ids import Kind
from understudy.sequencer import assign_positions
from understudy.settings import Settings
from understudy.store import asks, deletion, quotas, usage
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables
from understudy.telemetry.retention_metrics import retention_deleted
from understudy.worker import retention
from understudy.worker.retention import Retention

_p = Tables.participant
_workspace = Tables.workspace
TOKENS = USED.input_tokens + USED.output_tokens


@pytest.fixture
def history(store: Store) -> History:
    return History(store)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new pass begins at once."""
    monkeypatch.setattr(retention, "INTERVAL_S", 0)
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    monkeypatch.setattr(retention, "MAX_TRANSACTIONS", 1)


def keep(history: History, days: int | None) -> None:
    chosen = update(_workspace).where(_workspace.c.id == history.workspace_id)
    history.write(Connection.execute, chosen.values(retention_days=days))


def sweep_all(sweeper: Retention, sweeps: int = 20) -> list[int]:
    return [sweeper.sweep() for _ in range(sweeps)]


def test_retention_deletes_what_ended_before_it_in_small_transactions(history: History, settings: Settings) -> None:
    old, young = history.ended(days=31, count=5), history.ended(days=29, count=2)
    history.publish()
    keep(history, 30)
    counted = retention_deleted._value.get()
    numbers = sweep_all(Retention(settings, history.store))
    assert (history.remaining(old), history.remaining(young)) == ([], young)
    assert (max(numbers), sum(numbers)) == (2, 5)
    assert retention_deleted._value.get() - counted == 5
    assert history.count_rows(old) == 0


def test_retention_bounds_the_rows_of_a_transaction(
    history: History, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 100)
    monkeypatch.setattr(retention, "MAX_ROWS", 12)
    history.ended(days=31, count=6)
    history.publish()
    keep(history, 30)
    assert max(sweep_all(Retention(settings, history.store))) == 2


@pytest.mark.parametrize("days", [None, 0, 3_000])
def test_retention_of_none_or_longer_deletes_nothing(history: History, settings: Settings, days: int | None) -> None:
    old = history.ended(days=2_000)
    history.publish()
    keep(history, days)
    assert sum(sweep_all(Retention(settings, history.store))) == 0
    assert history.remaining(old) == old


def test_retention_by_default_applies_unless_the_workspace_keeps_all(history: History, settings: Settings) -> None:
    with_default = settings.model_copy(update={"workspace_retention_days": 30})
    old = history.ended(days=31)
    history.publish()
    keep(history, 0)
    assert sum(sweep_all(Retention(with_default, history.store))) == 0
    keep(history, None)
    assert sum(sweep_all(Retention(with_default, history.store))) == len(old)


def test_retention_logs_how_many_it_deleted(
    history: History, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    history.ended(days=31, count=3)
    history.publish()
    keep(history, 30)
    with caplog.at_level(logging.INFO, retention.__name__):
        sweep_all(Retention(settings, history.store))
    expected = f"deleted 3 participants of workspace {history.workspace_id}, which ended more than 30 days ago"
    assert [record.getMessage() for record in caplog.records] == [expected]


def test_retention_that_is_lengthened_ends_the_deletion_under_way(history: History, settings: Settings) -> None:
    old = history.ended(days=31, count=6)
    history.publish()
    keep(history, 30)
    sweeper = Retention(settings, history.store)
    assert sweeper.sweep() == 2
    keep(history, 90)
    assert sum(sweep_all(sweeper)) == 0
    assert len(history.remaining(old)) == 4


def test_retention_keeps_active_ones_and_the_source_of_an_extend(history: History, settings: Settings) -> None:
    (source,) = history.ended(days=90)
    child = history.extended(source)
    waiting, running = history.participants(2)
    history.must_claim(running)
    history.age([child, waiting, running], 80)
    history.publish()
    keep(history, 30)
    sweeper = Retention(settings, history.store)
    assert sum(sweep_all(sweeper)) == 0
    history.end([child], days=31)
    history.publish()
    assert sum(sweep_all(sweeper)) == 2
    assert history.remaining([source, child, waiting, running]) == [waiting, running]


def test_two_sweepers_delete_each_participant_once(history: History, settings: Settings) -> None:
    old = history.ended(days=31, count=12)
    history.publish()
    keep(history, 30)
    both = at_once(*(lambda: sum(sweep_all(Retention(settings, history.store))) for _ in range(2)))
    assert (sum(both), history.remaining(old)) == (len(old), [])


def test_workspaces_take_turns(history: History, settings: Settings) -> None:
    other = History(history.store, "other")
    for one in (history, other):
        one.ended(days=31, count=6)
        one.publish()
        keep(one, 30)
    sweeper = Retention(settings, history.store)
    assert [sweeper.sweep(), sweeper.sweep()] == [2, 2]
    left = {one.workspace_id: 0 for one in (history, other)}
    for row in (*history.rows(), *other.rows()):
        left[row.workspace_id] = left[row.workspace_id] + 1
    assert len(set(left.values())) == 1


def test_ask_opens_no_round_once_the_deletion_of_its_panel_has_begun(history: History, settings: Settings) -> None:
    ask, (first,) = make_ask(history.store, history.workspace_id, rounds=1)
    history.end(first, days=31, steps=10)
    history.publish()
    keep(history, 30)
    sweeper = Retention(settings, history.store)
    with history.store.read() as connection:
        assert len(asks.panel(connection, ask)) == len(first)
    while len(history.remaining(first)) == len(first):
        sweeper.sweep()
    with history.store.read() as connection:
        assert list(asks.panel(connection, ask)) == []
    sweep_all(sweeper)
    assert history.remaining(first) == []


def test_panel_of_which_a_part_is_left_is_not_asked(history: History) -> None:
    ask, _ = make_ask(history.store, history.workspace_id, rounds=1)
    with history.store.read() as connection:
        assert asks.panel(connection, ask)
    history.write(Connection.execute, update(Tables.ask).values(panel_removed_at=store_clock()))
    with history.store.read() as connection:
        assert list(asks.panel(connection, ask)) == []


def test_panel_is_deleted_in_bounded_transactions(
    history: History, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_ROWS", 1)
    _, (first,) = make_ask(history.store, history.workspace_id, rounds=1)
    history.end(first, days=31)
    history.publish()
    keep(history, 30)
    numbers = sweep_all(Retention(settings, history.store))
    assert (max(numbers), sum(numbers)) == (1, len(first))


# -- what a deletion keeps ---------------------------------------------------------------------------------


def figures(store: Store, workspace_id: UUID) -> tuple[int, int]:
    with store.read() as connection:
        return quotas.participants_today(connection, workspace_id), quotas.model_tokens_today(connection, workspace_id)


def test_deletion_of_a_study_resets_no_quota_of_the_day(history: History) -> None:
    history.ended(days=0, count=2)
    history.ended(days=0, count=1)
    assign_positions(history.store)
    before = figures(history.store, history.workspace_id)
    assert before[1] == 6 * TOKENS
    with history.store.read() as connection:
        used = usage.sum_for_study(connection, history.study_id)
    batch = history.write(deletion.delete_batch, history.workspace_id, Kind.STUDY, history.study_id)
    assert batch == (3, True)
    assert figures(history.store, history.workspace_id) == before
    with history.store.read() as connection:
        assert usage.sum_for_study(connection, history.study_id) == used
        assert usage.tokens_of_study(connection, history.study_id) == 6 * TOKENS
        assert usage.sum_for_workspace_today(connection, history.workspace_id).calls == 6  # type: ignore[union-attr]


def test_usage_of_a_study_stays_the_same_after_retention(history: History, settings: Settings) -> None:
    history.ended(days=31, count=3)
    history.publish()
    with history.store.read() as connection:
        before = usage.sum_for_study(connection, history.study_id)
    keep(history, 30)
    assert sum(sweep_all(Retention(settings, history.store))) == 3
    with history.store.read() as connection:
        assert usage.sum_for_study(connection, history.study_id) == before


def test_deletion_frees_stored_bytes(history: History) -> None:
    history.ended(days=0, count=2)
    assign_positions(history.store)
    history.write(quotas.measure, history.workspace_id)
    with history.store.read() as connection:
        assert quotas.stored_bytes(connection, history.workspace_id) > 0
    history.write(deletion.delete_batch, history.workspace_id, Kind.STUDY, history.study_id)
    with history.store.read() as connection:
        assert quotas.stored_bytes(connection, history.workspace_id) == 0


# -- deletions in several transactions ---------------------------------------------------------------------


@pytest.fixture
def _batches_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "MAX_PARTICIPANTS", 2)


@pytest.mark.usefixtures("_batches_of_two")
def test_deletion_continues_after_a_crash_between_two_transactions(history: History) -> None:
    (source,) = history.ended(days=0)
    history.end([history.extended(source)], days=0)
    history.ended(days=0, count=3)

    def delete() -> Any:
        return history.write(deletion.delete_batch, history.workspace_id, Kind.STUDY, history.study_id)

    assert delete() == (2, False)
    with history.store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(Tables.study)) == 1
    assert [delete(), delete()] == [(2, False), (1, True)]
    with history.store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(Tables.study)) == 0
    # Another call does no harm.
    assert delete() == (0, True)


@pytest.mark.usefixtures("_batches_of_two")
def test_deletion_of_children_older_than_their_sources_ends(history: History) -> None:
    """A clock that is set back gives a child an earlier time than its source."""
    sources = history.ended(days=0, count=4)
    children = [history.extended(source) for source in sources]
    history.end(children, days=0)
    history.age(children, 1)
    numbers = []
    while not numbers or not numbers[-1].is_complete:
        numbers.append(history.write(deletion.delete_batch, history.workspace_id, Kind.STUDY, history.study_id))
    assert sum(batch.participant_count for batch in numbers) == 8
    assert history.rows() == []


@one_store
@pytest.mark.usefixtures("_batches_of_two")
def test_run_that_begins_between_two_transactions_is_a_conflict(
    history: History, acme: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.ended(days=0, count=5)
    made = threading.Event()
    delete_batch = deletion.delete_batch

    def then_run(*args: Any, **kwargs: Any) -> Any:
        done = delete_batch(*args, **kwargs)
        made.set()
        return done

    monkeypatch.setattr(deletion, "delete_batch", lambda *a, **k: None if made.is_set() else then_run(*a, **k))
    answer = acme.http.delete(f"/v1/studies/{history.study_id}")
    assert (answer.status_code, answer.json()["error_code"]) == (409, "conflict")
    assert "had deleted 2 others" in answer.json()["error"]
    monkeypatch.undo()
    assert acme.http.delete(f"/v1/studies/{history.study_id}").json()["participant_count"] == 3


@one_store
def test_extend_of_a_deleted_participant_is_not_found(history: History, acme: ApiClient, settings: Settings) -> None:
    (old,) = history.ended(days=31)
    history.publish()
    keep(history, 30)
    assert sum(sweep_all(Retention(settings, history.store))) == 1
    answer = acme.post(f"/v1/participants/{old}/extend", {})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "not_found")
