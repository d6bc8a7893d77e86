"""Environments and minds that break in every way: each participant fails with its reason and no other one."""

import pytest

from tests.e2e.participants import all_terminal, counts, load_rows
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.settings import Settings
from understudy.store.engine import Store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leases long enough for a slow machine: no live worker counts as lost."""
    return settings.model_copy(update={"heartbeat_interval_s": 1, "lease_ttl_s": 8})


#: Fault on the second page -> `error_kind` and number of kept interactions.
BREAKS = {
    "raise": ("simulator_error", 1),
    # The first step observes the second page, which cannot be stored.
    "garbage": ("simulator_error", 0),
    "unstorable": ("simulator_error", 0),
    "mind raises": ("simulator_error", 1),
    "mind babbles": ("simulator_error", 1),
    "hang": ("step_timeout", 1),
    "mind hangs": ("step_timeout", 1),
    "stubborn": ("step_timeout", 1),
}


@pytest.mark.parametrize(
    ("store_url", "timeout"), [("sqlite", "step_timeout"), ("postgresql", "run_timeout")], indirect=["store_url"]
)
def test_a_broken_plugin_fails_its_participants_with_the_reason_and_no_others(
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
    failures = {
        what: {(row.error_kind, row.interaction_count, row.epoch) for row in load_rows(store, study)}
        for study, what in studies.items()
    }
    expected = {what: {(kind, count, 1)} for what, (kind, count) in BREAKS.items()}
    for what in ("hang", "mind hangs", "stubborn"):
        expected[what] = {(timeout, 1, 1)}
    assert failures == expected | {"unreachable": {("environment_error", 0, 1)}, "": {(None, 12, 1)}}
    assert counts(store) == {"completed": 10, "failed": 18}
    # All slots are free again.
    healthy = next(study for study, what in studies.items() if not what)
    (iteration_id,) = {row.iteration_id for row in load_rows(store, healthy)}
    make_participants(store, acme.workspace_id, healthy, iteration_id, 40, max_interactions=1)
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 50, "failed": 18}
