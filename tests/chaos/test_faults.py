"""Each fault point crossed by a process that dies there, and by one that fails there: the promises hold."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.checker import check_history
from tests.chaos.clients import Client, ResponseLog, make_clients
from tests.chaos.cluster import Cluster
from tests.servers import wait_until
from understudy.domain.lifecycle import TERMINAL
from understudy.faults import FAULT_SITES, POINTS

#: Short, so that each loss is noticed within two seconds.
SHORT = {
    "heartbeat_interval_s": 0.5,
    "lease_ttl_s": 1.5,
    "sweep_interval_s": 0.3,
    "republish_after_s": 2,
    "stop_grace_s": 3,
    # More losses than anybody should suffer: both workers of the town die twice.
    "max_attempts": 9,
    "loop_stall_s": 3,
}

#: The kinds of process that get to a place whatever happens; others may, too.
WHO = {
    "create.commit": ("api",),
    "run.commit": ("api",),
    "cancel.commit": ("api",),
    "extend.commit": ("api",),
    "run_message.reserve": ("api", "sweeper"),
    "run_message.send": ("api", "sweeper"),
    "run_message.unreserve": ("api",),
    "stop_task.send": ("api",),
    "abort.send": ("api",),
    "notice.send": ("run",),
    "lease.commit": ("run",),
    "claim.commit": ("run",),
    "step.commit": ("run",),
    "end.commit": ("run",),
    "release.commit": ("run",),
    "stop.commit": ("control",),
    "heartbeat.commit": ("run",),
    "watchdog_release.commit": ("run",),
    "recover.commit": ("sweeper",),
    "record_stops.commit": ("sweeper",),
    "delete_expired.commit": ("sweeper",),
    "positions.commit": ("sweeper",),
}

#: What an iteration's content has beside a delay, where something must go wrong for the place to be reached;
#: and as what that may end.
TROUBLE: dict[str, tuple[dict[str, str], str]] = {
    # What breaks in a step ends by a write of its own, which no other run needs.
    "end.commit": ({"3": "raise"}, "simulator_error"),
    "watchdog_release.commit": ({"3": "block"}, "step_timeout"),
}

#: Crossed by every run of the tests; the others take minutes and belong to `make chaos`.
ALWAYS = {"run.commit.after", "cancel.commit.after", "extend.commit.after", "step.commit.after"}

CROSSINGS = [
    pytest.param(
        point,
        action,
        marks=() if point in ALWAYS and action == "kill" else pytest.mark.chaos,
        id=f"{point}-{action}",
    )
    for point in POINTS
    for action in ("kill", "raise")
]

#: How often a process of each name dies or fails there: at the first crossing of each of so many starts.
STARTS = 2


def test_every_point_is_one_of_a_place_that_somebody_crosses() -> None:
    assert len(POINTS) == 2 * len(FAULT_SITES) == len(set(POINTS))
    assert set(WHO) == set(FAULT_SITES)
    assert set(POINTS) >= ALWAYS


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("point", "action"), CROSSINGS)
def test_a_process_that_dies_or_fails_there_breaks_no_promise(
    tmp_path: Path, store_url: str, point: str, action: str
) -> None:
    place, fault = point.rpartition(".")[0], f"{point}={action}"
    ledger = ResponseLog()
    at, may_fail = TROUBLE.get(place, ({}, ""))
    content: dict[str, object] = {"delay_s": 0.15, "at": at}
    with contextlib.ExitStack() as stack:
        town = stack.enter_context(Cluster(tmp_path / "town", store_url, workers=2, sweepers=1, **SHORT))
        for kind in WHO[place]:
            town.arm(kind, fault, STARTS)
        # Sweepers come later where there must be something for their first sweep.
        town.start(*(name for name in town.names if place != "recover.commit" or name not in town.sweepers))
        (client,) = make_clients(town.store, town.api, ledger, 1, point, content=content)
        stack.callback(client.close)
        wait_until(client.can_reach, 60, "the API answers")
        if place == "recover.commit":
            _lose_all_workers(town, client)
        if place == "create.commit":
            wait_until(client.create_study, 60, "somebody creates a study")
        for number in range(2):
            if place == "run_message.unreserve":
                # Who dies there is started again, and armed again.
                least = number + 1 if action == "kill" else 1
                _run_without_broker(town, client, lambda least=least: town.fired(fault) >= least)
            _run_cancel_and_extend(client, steps=9)
        wait_until(lambda: town.fired(fault), 60, "the point is crossed")
        wait_until(lambda: all(client.status(id_) in TERMINAL for id_ in ledger.ids), 90, "everything terminal")
        wait_until(lambda: _all_stopped(client, ledger), 60, "every stop is known")
        verdict = check_history(town.store, ledger, town.losses, may_fail=(may_fail,) if may_fail else ())
    assert not verdict.problems


def _run_cancel_and_extend(client: Client, steps: int) -> None:
    """Four run; one of them is cancelled while it runs, and goes on elsewhere."""
    ids = client.dispatch_run(4, steps)
    wait_until(lambda: any(client.status(id_) in TERMINAL | {"running"} for id_ in ids), 90, "somebody runs one")
    victim = next((id_ for id_ in ids if client.status(id_) == "running"), ids[0])
    client.cancel(victim)
    client.extend(victim, steps=2)


def _run_without_broker(town: Cluster, client: Client, crossed: Callable[[], bool]) -> None:
    """Messages that could not be sent are owed again."""
    with town.without_broker(empty=False):
        client.dispatch_run(4, 3)
        wait_until(crossed, 60, "the point is crossed")


def _lose_all_workers(town: Cluster, client: Client) -> None:
    """The first sweep will find somebody to take from a dead worker."""
    ids = client.dispatch_run(4, 40)
    wait_until(lambda: all(client.status(id_) == "running" for id_ in ids), 60, "all run")
    for name in town.workers:
        town.kill(name)
    wait_until(lambda: not town.leases_of(ids), 60, "their leases ran out")
    town.start(*town.sweepers)


def _all_stopped(client: Client, ledger: ResponseLog) -> bool:
    return all(client.stop_is_known(id_) for id_ in ledger.cancelled)
