"""Environments and minds that break in every way: each fails with its reason, nobody beside them."""

import pytest

from tests.e2e.participants import all_terminal, counts, load_rows
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases long enough for a slow machine: nobody is to be taken for lost who is not."""
    return settings.model_copy(update={"heartbeat_interval_s": 1, "lease_ttl_s": 8})


#: What happens on the second page, what is said of it, and how many interactions are kept.
BREAKS = {
    "raise": ("simulator_error", 1),
    # The first step ends with a look at the second page, which cannot be kept.
    "garbage": ("simulator_error", 0),
    "unstorable": ("simulator_error", 0),
    "mind raises": ("simulator_error", 1),
    "mind babbles": ("simulator_error", 1),
    "hang": ("step_timeout", 1),
    "mind hangs": ("step_timeout", 1),
    "stubborn": ("step_timeout", 1),
}


@pytest.mark.parametrize("timeout", ["step_timeout", "run_timeout"])
def test_whatever_breaks_it_fails_and_says_why_and_nobody_else_does(
    store: Store, acme: ApiClient, fleet: Fleet, timeout: str
) -> None:
    limits = {f"{timeout}_s": 2}
    studies = {}
    for what in (*BREAKS, "unreachable", ""):
        page = "0" if what == "unreachable" else "1"
        content = {"at": {page: what}} if what else {"delay_s": 0.2}
        study, (iteration,) = make_study(store, acme.workspace_id, content=content, **(limits if what else {}))
        make_participants(store, acme.workspace_id, study, iteration, 2 if what else 10, max_interactions=12)
        studies[study] = what
    fleet.start("run-1", "sweeper", concurrency=40)
    wait_until(lambda: all_terminal(store))
    told = {
        what: {(row.error_kind, row.interaction_count, row.epoch) for row in load_rows(store, study)}
        for study, what in studies.items()
    }
    expected = {what: {(kind, count, 1)} for what, (kind, count) in BREAKS.items()}
    for what in ("hang", "mind hangs", "stubborn"):
        expected[what] = {(timeout, 1, 1)}
    assert told == expected | {"unreachable": {("environment_error", 0, 1)}, "": {(None, 12, 1)}}
    assert counts(store) == {"completed": 10, "failed": 18}
    # Its slots are free again.
    healthy = next(study for study, what in studies.items() if not what)
    (iteration_id,) = {row.iteration_id for row in load_rows(store, healthy)}
    make_participants(store, acme.workspace_id, healthy, iteration_id, 40, max_interactions=1)
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 50, "failed": 18}
