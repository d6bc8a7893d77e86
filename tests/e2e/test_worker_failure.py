"""Workers that die, hang or lose their store: others continue their participants; nothing is written twice."""

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.e2e.store_link import StoreLink, broken, link_to, locked
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases long enough for a slow machine: no live worker counts as lost."""
    return settings.model_copy(update={"heartbeat_interval_s": 1, "lease_ttl_s": 3})


def test_another_worker_continues_the_participants_of_a_killed_worker(
    store: Store, acme: ApiClient, fleet: Fleet, tmp_path: Path
) -> None:
    log = tmp_path / "steps.log"
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2, "log": str(log)})
    (victim, _, _) = fleet.start("run-1", "run-2", "sweeper")
    ids = dispatch_participants(acme, study, 12, max_interactions=12)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store)))
    victim.stop(signal.SIGKILL)
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 12}
    after = load_rows(store)
    assert {str(row.id) for row in after} == set(ids)
    lost = [row for row in after if row.epoch == 2]
    assert lost, "the killed one ran some"
    assert {row.epoch for row in after} <= {1, 2}
    # None starts again from the beginning.
    assert (logged(log, "open"), logged(log, "restore")) == (12, len(lost))


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_recovered_participants_run_before_new_ones(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    study, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    later, _ = make_study(store, acme.workspace_id)
    victim, _ = fleet.start("run-1", "sweeper", concurrency=4)
    dispatch_participants(acme, study, 4, max_interactions=12)
    dispatch_participants(acme, later, 8)
    wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store, study)))
    victim.stop(signal.SIGKILL)
    wait_until(lambda: all(row.status == "pending" and row.dispatched_at for row in load_rows(store, study)))
    fleet.start("run-2", concurrency=4)
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 12}
    taken_up = claimed_at(store, epoch=2)
    assert len(taken_up) == 4
    assert max(taken_up) < min(row.started_at for row in load_rows(store, later))


def claimed_at(store: Store, epoch: int) -> list[Any]:
    """Returns when participants were claimed for the first, second, … time."""
    event = Tables.event
    with store.read() as connection:
        rows = connection.execute(select(event).where(event.c.kind == "status").order_by(event.c.seq)).all()
    claims: dict[Any, list[Any]] = {}
    for row in rows:
        if row.data["status"] == "running":
            claims.setdefault(row.participant_id, []).append(row.at)
    return [times[epoch - 1] for times in claims.values() if len(times) >= epoch]


@pytest.mark.parametrize(
    ("store_url", "how"),
    [("sqlite", None), ("postgresql", StoreLink.cut), ("postgresql", StoreLink.stall)],
    indirect=["store_url"],
)
def test_a_worker_that_loses_its_store_aborts_its_steps_and_works_again_later(
    store: Store, acme: ApiClient, fleet: Fleet, store_url: str, tmp_path: Path, how: Callable[[StoreLink], None] | None
) -> None:
    log = tmp_path / "steps.log"
    walk, _ = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    # Nothing else ends these steps before this test does.
    content = {"delay_s": 600, "log": str(log)}
    sleep, _ = make_study(store, acme.workspace_id, content=content, step_timeout_s=3600)
    with contextlib.ExitStack() as stack:
        # A lock keeps all processes from the store; a broken link only the worker behind it.
        outage, url = locked(store_url), store_url
        if how:
            link, url = stack.enter_context(link_to(store_url))
            outage = broken(link, how)
        linked = stack.enter_context(Fleet.of(fleet.settings.model_copy(update={"database_url": url})))
        linked.start("run-1")
        fleet.start("sweeper")
        dispatch_participants(acme, walk, 6, max_interactions=10)
        sleepers = dispatch_participants(acme, sleep, 2)
        wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store, walk)))
        wait_until(lambda: logged(log, "act") == 2)
        lost = lease_of(store, "run-1")
        (other,) = fleet.start("run-2")
        with outage:
            wait_until(lambda: logged(log, "aborted") == 2, 45, "its steps in flight are aborted")
            if how:
                wait_until(lambda: logged(log, "act") == 4, what="the other worker continues them")
                wait_until(lambda: {row.status for row in load_rows(store, walk)} == {"completed"})
        wait_until(lambda: lease_of(store, "run-1") not in {lost, None}, what="it has a new lease")
        wait_until(lambda: {row.status for row in load_rows(store, walk)} == {"completed"})
        other.stop()
        more = dispatch_participants(acme, walk, 4)
        answer = acme.post("/v1/simulations/wait", {"participant_ids": more, "timeout": 60})
        assert answer.json()["ok"], answer.text
        for id_ in sleepers:
            acme.post(f"/v1/participants/{id_}/cancel")
        assert counts(store) == {"completed": 10, "cancelled": 2}


def logged(log: Path, step: str) -> int:
    """Returns how many lines of the log begin with this word."""
    return [line.split()[0] for line in log.read_text().splitlines()].count(step) if log.exists() else 0


def lease_of(store: Store, name: str) -> Any:
    """Returns the id of a worker's live lease, if it has one."""
    lease = Tables.lease
    live = select(lease.c.id).where(lease.c.name.startswith(f"{name}@"), lease.c.expires_at > store_clock())
    with store.read() as connection:
        return connection.scalar(live)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_participant_that_kills_its_worker_fails_in_quarantine(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    poisoned, (there,) = make_study(store, acme.workspace_id, content={"at": {"1": "die"}})
    healthy, (here,) = make_study(store, acme.workspace_id, content={"delay_s": 0.1})
    make_participants(store, acme.workspace_id, poisoned, there, 1)
    make_participants(store, acme.workspace_id, healthy, here, 50)
    fleet.start("sweeper")
    with fleet.kept("run-1", "run-2", "alone", concurrency=30) as ended:
        wait_until(lambda: all_terminal(store), 120)
    (poison,) = load_rows(store, poisoned)
    assert (poison.status, poison.error_kind, poison.attempt) == ("failed", "stale_worker", 3)
    assert poison.interaction_count == 1, "its earlier interaction is kept"
    assert {row.status for row in load_rows(store, healthy)} == {"completed"}
    assert ended["run-1"] + ended["run-2"] + ended["alone"] == 3
    assert ended["alone"] >= 1, "the last one is the quarantine worker"
