"""Each fault point: a process dies, fails or pauses there, and each promise holds."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.chaos.checker import check_history
from tests.chaos.clients import Client, ResponseLog, make_clients
from tests.chaos.cluster import Cluster
from tests.servers import wait_until
from understudy.domain.lifecycle import TERMINAL
from understudy.faults import FAULT_SITES, POINTS, TRANSACTION_SITES
from understudy.store.engine import store_time

#: Short, so that each loss is noticed within two seconds.
SHORT = {
    "heartbeat_interval_s": 0.5,
    "lease_ttl_s": 1.5,
    "sweep_interval_s": 0.3,
    "republish_after_s": 2,
    "stop_grace_s": 3,
    # More than the losses of one participant: both workers of the cluster die twice.
    "max_attempts": 9,
    "loop_stall_s": 3,
}

#: By kind of process: the fault sites that it always reaches; others may, too.
SITES = {
    "api": {
        *("create.commit", "run.commit", "cancel.commit", "extend.commit", "stop_task.send", "abort.send"),
        *("run_message.reserve", "run_message.send", "run_message.unreserve"),
    },
    "run": {
        *("notice.send", "lease.commit", "claim.commit", "step.commit", "end.commit", "release.commit"),
        *("heartbeat.commit", "watchdog_release.commit"),
    },
    "control": {"stop.commit"},
    "sweeper": {
        *("run_message.reserve", "run_message.send", "recover.commit", "record_stops.commit"),
        *("delete_expired.commit", "positions.commit"),
    },
}

#: Reached only by the process that delivers webhooks: tests/chaos/test_webhooks.py crosses them.
WEBHOOK_SITES = {"deliveries.commit", "delivery_claim.commit", "delivery_settle.commit", "delivery.send"}

#: The content that makes a run fail, where a site is reached only by that; and the kind of the failure.
FAILING_CONTENT: dict[str, tuple[dict[str, str], str]] = {
    # A failed step ends its run by a write of its own.
    "end.commit": ({"3": "raise"}, "simulator_error"),
    "watchdog_release.commit": ({"3": "block"}, "step_timeout"),
}

#: Tested in each run of the tests; the others take minutes and belong to `make chaos`.
ALWAYS = {
    *(("run.commit.after", "kill"), ("cancel.commit.after", "kill"), ("extend.commit.after", "kill")),
    *(("step.commit.after", "kill"), ("step.commit.within", "pause")),
}

CROSSINGS = [
    pytest.param(*crossing, marks=() if crossing in ALWAYS else pytest.mark.chaos)
    for crossing in (
        *((point, action) for point in POINTS for action in ("kill", "raise")),
        *((f"{site}.within", "pause") for site in TRANSACTION_SITES),
    )
    if crossing[0].rpartition(".")[0] not in WEBHOOK_SITES
]

#: A process dies or fails at its first crossing, in each of so many starts.
STARTS = 2


def test_each_fault_point_belongs_to_a_site_that_a_process_reaches() -> None:
    assert len(POINTS) == 2 * len(FAULT_SITES) + len(TRANSACTION_SITES) == len(set(POINTS))
    assert set().union(*SITES.values(), WEBHOOK_SITES) == set(FAULT_SITES)
    assert set(POINTS) >= {point for point, _ in ALWAYS}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("point", "action"), CROSSINGS)
def test_process_that_dies_fails_or_pauses_at_a_fault_point_breaks_no_promise(
    tmp_path: Path, store_url: str, point: str, action: str
) -> None:
    place, fault = point.rpartition(".")[0], f"{point}={action}"
    responses = ResponseLog()
    at, may_fail = FAILING_CONTENT.get(place, ({}, ""))
    content: dict[str, object] = {"delay_s": 0.15, "at": at}
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(tmp_path / "cluster", store_url, workers=2, sweepers=1, **SHORT))
        paused = tmp_path / "paused"
        stack.enter_context(_resuming(cluster, paused))
        for kind in (kind for kind, sites in SITES.items() if place in sites):
            cluster.arm(kind, f"{fault}:{paused}" if action == "pause" else fault, STARTS)
        # Sweepers start later if their first sweep must find lost participants.
        cluster.start(*(name for name in cluster.names if place != "recover.commit" or name not in cluster.sweepers))
        (client,) = make_clients(cluster.store, cluster.api, responses, 1, point, content=content)
        stack.callback(client.close)
        wait_until(client.can_reach, 60, "the API answers")
        if place == "recover.commit":
            _lose_all_workers(cluster, client)
        if place == "create.commit":
            wait_until(client.create_study, 60, "a study is created")
        for number in range(2):
            if place == "run_message.unreserve":
                # A process that dies there is started and armed again.
                least = number + 1 if action == "kill" else 1
                _run_without_broker(cluster, client, lambda least=least: cluster.fired(fault) >= least)
            _run_cancel_and_extend(client, steps=9)
        wait_until(lambda: cluster.fired(fault), 60, "the point is crossed")
        wait_until(lambda: all(client.status(id_) in TERMINAL for id_ in responses.ids), 90, "all are terminal")
        wait_until(lambda: _all_stopped(client, responses), 60, "all stops are recorded")
        result = check_history(cluster.store, responses, cluster.losses, may_fail=(may_fail,) if may_fail else ())
    assert not result.problems


@contextlib.contextmanager
def _resuming(cluster: Cluster, paused: Path) -> Iterator[None]:
    """Freezes each process that pauses, and resumes it when the store's clock shows that its lease has expired."""
    done = threading.Event()

    def now(offset_s: float = 0) -> datetime:
        with cluster.store.read() as connection:
            return store_time(connection, offset_s)

    def resume() -> None:
        while not done.wait(0.02):
            if (undo := cluster.freeze_paused(paused)) is not None:
                until = now(cluster.settings.lease_ttl_s + cluster.settings.sweep_interval_s)
                wait_until(lambda until=until: now() > until)
                undo()

    thread = threading.Thread(target=resume, name="resume")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _run_cancel_and_extend(client: Client, steps: int) -> None:
    """Runs four participants, cancels one of them while it runs, and extends it."""
    ids = client.dispatch_run(4, steps)
    wait_until(lambda: any(client.status(id_) in TERMINAL | {"running"} for id_ in ids), 90, "one runs")
    victim = next((id_ for id_ in ids if client.status(id_) == "running"), ids[0])
    client.cancel(victim)
    client.extend(victim, steps=2)


def _run_without_broker(cluster: Cluster, client: Client, crossed: Callable[[], bool]) -> None:
    """Dispatches while the broker is down: the reservations are released."""
    with cluster.without_broker(empty=False):
        client.dispatch_run(4, 3)
        wait_until(crossed, 60, "the point is crossed")


def _lose_all_workers(cluster: Cluster, client: Client) -> None:
    """Kills all workers before the first sweep."""
    ids = client.dispatch_run(4, 40)
    wait_until(lambda: all(client.status(id_) == "running" for id_ in ids), 60, "all run")
    for name in cluster.workers:
        cluster.kill(name)
    wait_until(lambda: not cluster.leases_of(ids), 60, "their leases expired")
    cluster.start(*cluster.sweepers)


def _all_stopped(client: Client, responses: ResponseLog) -> bool:
    return all(client.stop_is_known(id_) for id_ in responses.cancelled)
