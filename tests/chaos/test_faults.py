"""Each fault point crossed by a process that dies there, and by one that fails there: the promises hold."""

import contextlib
from pathlib import Path

import pytest

from shared.domain.lifecycle import TERMINAL
from shared.faults import PLACES, POINTS
from tests.chaos.clients import Ledger, make_clients
from tests.chaos.town import Town
from tests.chaos.verdict import judge
from tests.servers import wait_until

#: Short, so that each loss is noticed within two seconds.
SHORT = {
    "heartbeat_interval_s": 0.5,
    "lease_ttl_s": 1.5,
    "sweep_interval_s": 0.3,
    "republish_after_s": 2,
    "stop_grace_s": 3,
    # More losses than anybody should suffer: every worker of the town dies once.
    "max_attempts": 9,
}


def test_every_point_is_one_of_a_place() -> None:
    assert len(POINTS) == 2 * len(PLACES) == len(set(POINTS))


STARTED = TERMINAL | {"running"}

#: Crossed by every run of the tests; the others take minutes and belong to `make chaos`.
ALWAYS = {
    ("run.commit", "kill"),
    ("cancel.commit", "kill"),
    ("extend.commit", "kill"),
    ("step.commit", "kill"),
}

CROSSINGS = [
    pytest.param(place, action, marks=() if (place, action) in ALWAYS else pytest.mark.chaos)
    for place in PLACES
    for action in ("kill", "raise")
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("place", "action"), CROSSINGS)
def test_a_process_that_dies_or_fails_there_breaks_no_promise(
    tmp_path: Path, store_url: str, place: str, action: str
) -> None:
    faults = f"{place}.before={action}@1,{place}.after={action}@2"
    ledger = Ledger()
    with contextlib.ExitStack() as stack:
        town = stack.enter_context(Town(tmp_path / "town", store_url, workers=2, **SHORT))
        town.start(faults)
        (client,) = make_clients(town.store, town.api, ledger, 1, seed=len(place))
        stack.callback(client.close)
        wait_until(client.can_reach, 60, "the API answers")
        # Twice each: the second time gets to what the first one died before.
        for _ in range(2):
            victim = client.dispatch_run(people=4, steps=8)[0]
            wait_until(lambda id_=victim: client.status(id_) in STARTED, 60, "somebody runs it")
            client.cancel(victim)
            client.extend(victim, steps=2)
        wait_until(
            lambda: all(client.status(id_) in TERMINAL for id_ in ledger.ids), 60, "everything terminal"
        )
        assert not judge(town.store, ledger, []).problems
