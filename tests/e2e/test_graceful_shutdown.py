"""An ordered end: other workers continue the participants at once, and no attempt is lost."""

import contextlib
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.e2e.participants import all_terminal, counts, load_rows
from tests.e2e.store_link import StoreLink, broken, link_to, locked
from tests.e2e.test_up import Up, start
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, serve_in_thread, wait_until
from understudy.deploy.shop.app import create_shop
from understudy.settings import Settings
from understudy.store.engine import Store
from understudy.store.schema import Tables

__all__ = ["start"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases long enough for a slow machine: no live worker counts as lost."""
    return settings.model_copy(update={"heartbeat_interval_s": 1, "lease_ttl_s": 8})


def test_replacing_all_workers_under_load_costs_no_attempt(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    first, second, _ = fleet.start("run-1", "run-2", "sweeper")
    make_participants(store, acme.workspace_id, study, iteration, 40, max_interactions=40)
    wait_until(lambda: counts(store) == {"running": 40})
    fleet.start("run-3")
    assert first.stop() == 0
    fleet.start("run-4")
    assert second.stop() == 0
    wait_until(lambda: all_terminal(store), 90)
    assert counts(store) == {"completed": 40}
    after = load_rows(store)
    assert {row.attempt for row in after} == {0}
    assert max(row.epoch for row in after) > 1, "it was under load"
    assert lost(store) == 0


def lost(store: Store) -> int:
    """Returns how many events say that a worker was lost."""
    with store.read() as connection:
        return sum(data.get("reason") == "lost" for data in connection.scalars(select(Tables.event.c.data)))


def test_a_worker_ends_while_the_store_is_unavailable(
    store: Store, acme: ApiClient, settings: Settings, fleet: Fleet, store_url: str
) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id, content={"delay_s": 0.2})
    make_participants(store, acme.workspace_id, study, iteration, 6, max_interactions=20)
    fleet.start("sweeper")
    with contextlib.ExitStack() as stack:
        outage, url = locked(store_url), store_url
        if not store_url.startswith("sqlite"):
            link, url = stack.enter_context(link_to(store_url))
            outage = broken(link, StoreLink.cut)
        linked = stack.enter_context(Fleet.of(settings.model_copy(update={"database_url": url})))
        (worker,) = linked.start("run-1")
        wait_until(lambda: all(row.interaction_count >= 1 for row in load_rows(store)))
        with outage:
            worker.stop(timeout_s=settings.drain_grace_s + 20)
    fleet.start("run-2")
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 6}


@pytest.mark.timeout(240)
def test_a_restarted_stack_continues_its_participants(start: Callable[..., Up]) -> None:
    # Slow enough that some participants still run when the stack is stopped.
    with serve_in_thread(create_shop(delay_s=0.8)) as shop:
        up = start("--port", "0", "--no-flower")
        with client_of(up) as client:
            ids = dispatch(client, shop, 12)
            wait_until(lambda: interaction_count(client) >= 12)
        assert up.end(signal.SIGINT)[0] == 0
        up = start("--port", "0", "--no-flower")
        with client_of(up) as client:
            assert {row["attempt"] for row in list_participants(client)} == {0}
            before = interaction_count(client)
            wait_until(lambda: interaction_count(client) >= before + 6)
        # The second signal forces the end.
        up.process.send_signal(signal.SIGINT)
        assert up.end(signal.SIGINT)[0] in {0, 1}
        up = start("--port", "0", "--no-flower")
        with client_of(up) as client:
            wait_until(lambda: {row["status"] for row in list_participants(client)} == {"completed"}, 120)
            assert {row["id"] for row in list_participants(client)} == set(ids)
        assert up.end(signal.SIGINT)[0] == 0


def client_of(up: Up) -> httpx.Client:
    url = up.url()
    token = (up.data_dir / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False, verify=False)


def dispatch(client: httpx.Client, url: str, count: int) -> list[str]:
    """Dispatches people to a website; returns the ids of their participants."""
    client.post("/v1/people", json={"generate": count, "seed": 1}).raise_for_status()
    study = {"name": "Shop", "modality": "interactive", "assignment": {"task": "Buy the teapot"}}
    study_id = client.post("/v1/studies", json=study).raise_for_status().json()["id"]
    content = {"content": {"environment": "web", "url": url}, "max_interactions": 25}
    client.post(f"/v1/studies/{study_id}/iterations", json=content).raise_for_status()
    body = {"sample": count, "seed": 1}
    answer = client.post(f"/v1/studies/{study_id}/run", json=body).raise_for_status()
    return answer.json()["dispatch"]["participant_ids"]


def list_participants(client: httpx.Client) -> list[dict[str, Any]]:
    """Returns all participants of the one study."""
    (study,) = client.get("/v1/studies").raise_for_status().json()["items"]
    answer = client.get("/v1/participants", params={"study_id": study["id"], "limit": 100})
    return answer.raise_for_status().json()["items"]


def interaction_count(client: httpx.Client) -> int:
    return sum(row["interaction_count"] for row in list_participants(client))
