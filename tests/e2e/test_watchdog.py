"""Steps that block their worker: its event loop, the interpreter, the memory."""

import pytest

from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.factories import make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Short leases, a loop that may stall for a second, and a worker that may hold 400 MB."""
    short = {"heartbeat_interval_s": 1, "lease_ttl_s": 3, "sweep_interval_s": 0.3}
    return settings.model_copy(update=short | {"republish_after_s": 1.0, "loop_stall_s": 1.0, "max_memory_mb": 400})


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_step_that_blocks_the_event_loop_fails_and_the_others_continue_elsewhere(
    store: Store, acme: ApiClient, fleet: Fleet
) -> None:
    good, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.3})
    bad, _ = make_study(store, acme.workspace_id, content={"at": {"2": "block"}})
    blocked, _ = fleet.start("run-1", "sweeper")
    dispatch_participants(acme, good, 8, max_interactions=10)
    wait_until(lambda: counts(store).get("running") == 8)
    (culprit,) = dispatch_participants(acme, bad, 1)
    assert blocked.popen.wait(60) == 70
    fleet.start("run-2")
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 8, "failed": 1}
    # The culprit is known: no participant loses an attempt.
    assert {row.attempt for row in load_rows(store)} == {0}
    (row,) = (row for row in load_rows(store) if str(row.id) == culprit)
    assert (row.error_kind, row.interaction_count, row.epoch) == ("step_timeout", 2, 1)
    assert "blocked its worker" in row.error_message


@pytest.mark.chaos
def test_a_step_that_holds_the_interpreter_ends_three_workers_and_fails(
    store: Store, acme: ApiClient, fleet: Fleet
) -> None:
    bad, _ = make_study(store, acme.workspace_id, content={"at": {"1": "hold"}})
    started = fleet.start("run-1", "run-2", "alone", "sweeper")
    dispatch_participants(acme, bad, 1)
    # Two run workers, then the quarantine worker.
    assert [process.popen.wait(90) for process in started[:3]] == [1, 1, 1]
    assert ["Timeout (0:00:20)" in process.log.read_text() for process in started[:3]] == [True] * 3
    wait_until(lambda: all_terminal(store))
    (row,) = load_rows(store)
    assert (row.status, row.error_kind, row.attempt, row.interaction_count) == ("failed", "stale_worker", 3, 1)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_worker_with_too_much_memory_ends_in_order_and_only_the_run_that_grew_counts_a_loss(
    store: Store, acme: ApiClient, fleet: Fleet
) -> None:
    greedy, _ = make_study(store, acme.workspace_id, content={"at": {"1": "leak", "3": "leak"}, "delay_s": 0.4})
    modest, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.3})
    grown, _ = fleet.start("run-1", "sweeper")
    dispatch_participants(acme, modest, 4, max_interactions=10)
    wait_until(lambda: counts(store).get("running") == 4)
    (culprit,) = dispatch_participants(acme, greedy, 1, max_interactions=10)
    assert grown.popen.wait(60) == 0
    assert f"400 allowed; shutting down; most of the growth came with participant {culprit}" in grown.log.read_text()
    assert {str(row.id): row.attempt for row in load_rows(store) if row.attempt} == {culprit: 1}
    # Without a limit: a repeated step may leak again.
    fleet.start("run-2", UNDERSTUDY_MAX_MEMORY_MB="0")
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 5}
    assert {row.attempt for row in load_rows(store)} == {0}
