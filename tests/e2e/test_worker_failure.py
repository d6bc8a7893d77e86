"""Workers that die, hang or lose their store: others go on where they were, and nothing is written twice."""

import contextlib
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select

from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.e2e.store_link import StoreLink, link_to, locked, until_mended
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases long enough for a slow machine: nobody is to be taken for lost who is not."""
    return settings.model_copy(update={"heartbeat_interval_s": 1, "lease_ttl_s": 3})


def test_who_has_free_slots_takes_up_what_a_killed_worker_ran(
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
    # Nobody went back to the start.
    steps = [line.split()[0] for line in log.read_text().splitlines()]
    assert (steps.count("open"), steps.count("restore")) == (12, len(lost))


def test_what_was_lost_goes_ahead_of_new_work(store: Store, acme: ApiClient, fleet: Fleet) -> None:
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
    """When participants were claimed for the first, second, … time."""
    event = Tables.event
    with store.read() as connection:
        told = connection.execute(select(event).where(event.c.kind == "status").order_by(event.c.seq)).all()
    claims: dict[Any, list[Any]] = {}
    for one in told:
        if one.data["status"] == "running":
            claims.setdefault(one.participant_id, []).append(one.at)
    return [times[epoch - 1] for times in claims.values() if len(times) >= epoch]


class Apart(NamedTuple):
    """A worker that has its own way to the store."""

    store: Store
    acme: ApiClient
    fleet: Fleet
    settings: Settings
    log: Path

    def loses_its_store(self, url: str, broken: contextlib.AbstractContextManager[None], *, alone: bool) -> None:
        """`alone`: nobody else loses it; so others go on meanwhile."""
        walk, _ = make_study(self.store, self.acme.workspace_id, content={"delay_s": 0.2})
        content = {"delay_s": 600, "log": str(self.log)}
        # Nothing else ends their steps before this test does.
        sleep, _ = make_study(self.store, self.acme.workspace_id, content=content, step_timeout_s=3600)
        with Fleet.of(self.settings.model_copy(update={"database_url": url})) as apart:
            apart.start("run-1")
            self.fleet.start("sweeper")
            dispatch_participants(self.acme, walk, 6, max_interactions=10)
            sleepers = dispatch_participants(self.acme, sleep, 2)
            wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(self.store, walk)))
            wait_until(lambda: noted(self.log, "act") == 2)
            lost = lease_of(self.store, "run-1")
            (other,) = self.fleet.start("run-2")
            with broken:
                wait_until(lambda: noted(self.log, "aborted") == 2, 45, "its steps in flight are aborted")
                if alone:
                    wait_until(lambda: noted(self.log, "act") == 4, what="another one took them up")
                    wait_until(lambda: {row.status for row in load_rows(self.store, walk)} == {"completed"})
            wait_until(lambda: lease_of(self.store, "run-1") not in {lost, None}, what="it has a new lease")
            wait_until(lambda: {row.status for row in load_rows(self.store, walk)} == {"completed"})
            other.stop()
            more = dispatch_participants(self.acme, walk, 4)
            answer = self.acme.post("/v1/simulations/wait", {"participant_ids": more, "timeout": 60})
            assert answer.json()["ok"], answer.text
            for id_ in sleepers:
                self.acme.post(f"/v1/participants/{id_}/cancel")
            assert counts(self.store) == {"completed": 10, "cancelled": 2}


@pytest.fixture
def apart(store: Store, acme: ApiClient, fleet: Fleet, settings: Settings, tmp_path: Path) -> Apart:
    return Apart(store, acme, fleet, settings, tmp_path / "steps.log")


def test_a_worker_cut_from_its_store_drops_everything_and_works_again_later(apart: Apart, store_url: str) -> None:
    if store_url.startswith("sqlite"):
        apart.loses_its_store(store_url, locked(store_url), alone=False)
        return
    with link_to(store_url) as (cable, url):
        apart.loses_its_store(url, until_mended(cable, StoreLink.cut), alone=True)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_store_that_says_nothing_any_more_is_as_good_as_gone(apart: Apart, store_url: str) -> None:
    with link_to(store_url) as (cable, url):
        apart.loses_its_store(url, until_mended(cable, StoreLink.stall), alone=True)


def noted(log: Path, what: str) -> int:
    """How often the log has that word."""
    return [line.split()[0] for line in log.read_text().splitlines()].count(what) if log.exists() else 0


def lease_of(store: Store, name: str) -> Any:
    """The id of a worker's live lease, if it has one."""
    lease = Tables.lease
    live = select(lease.c.id).where(lease.c.name.startswith(f"{name}@"), lease.c.expires_at > store_clock())
    with store.read() as connection:
        return connection.scalar(live)


@pytest.mark.timeout(240)
def test_a_poison_run_ends_alone_and_takes_nobody_with_it(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    poisoned, (there,) = make_study(store, acme.workspace_id, content={"at": {"1": "die"}})
    healthy, (here,) = make_study(store, acme.workspace_id, content={"delay_s": 0.1})
    make_participants(store, acme.workspace_id, poisoned, there, 1)
    make_participants(store, acme.workspace_id, healthy, here, 50)
    fleet.start("sweeper")
    with fleet.kept("run-1", "run-2", "alone", concurrency=30) as ended:
        wait_until(lambda: all_terminal(store), 120)
    (poison,) = load_rows(store, poisoned)
    assert (poison.status, poison.error_kind, poison.attempt) == ("failed", "stale_worker", 3)
    assert poison.interaction_count == 1, "what it did before is kept"
    assert {row.status for row in load_rows(store, healthy)} == {"completed"}
    assert ended["run-1"] + ended["run-2"] + ended["alone"] == 3
    assert ended["alone"] >= 1, "in the end it is alone"
