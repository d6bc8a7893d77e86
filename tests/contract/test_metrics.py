"""/metrics: what Prometheus reads. Source: contract section 6."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.store.engine import Store
from tests.callers import Caller
from tests.factories import make_participants, make_study


def figures(api: str) -> dict[tuple[str, str], float]:
    answer = httpx.get(f"{api}/metrics", trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name.removeprefix("understudy_"), sample.labels.get("status", "")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_count_all_workspaces_together_and_name_none(
    api: str, store: Store, acme: Caller, rival: Caller
) -> None:
    for who, many in ((acme, 3), (rival, 2)):
        study, (iteration,) = make_study(store, who.workspace_id)
        make_participants(store, who.workspace_id, study, iteration, many)
    assert figures(api) == {
        ("participants", "pending"): 5,
        ("participants", "running"): 0,
        ("workers", ""): 0,
        ("waited_for", ""): 0,
        ("event_streams", ""): 0,
    }
