"""/metrics: what Prometheus reads. Source: contract section 6."""

import itertools
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, event, text

import understudy.telemetry.retention_metrics  # noqa: F401 - declares them
from tests.contract.manual_worker import make_run
from tests.http_client import ApiClient
from tests.parameters import one_store
from tests.servers import serve_in_thread, wait_until
from understudy.api.app import create_app
from understudy.domain.fair_shares import MIN_WINDOW
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue, WorkerKind
from understudy.settings import Settings
from understudy.store import participants
from understudy.store.backlog import backlog
from understudy.store.engine import Store
from understudy.telemetry import metrics
from understudy.telemetry.exporter import (
    MAX_LABEL_VALUES,
    METRIC_SPECS,
    OTHER,
    Component,
    MetricsExporter,
    bounded,
    start_metrics_server,
)
from understudy.telemetry.window_metrics import AGES

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(url: str) -> Series:
    """Every series of a metrics page, without its prefix."""
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name.removeprefix("understudy_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def with_drafts(url: str) -> Series | None:
    """Every series, once the participants that are not active are counted, too."""
    series = read(url)
    return series if ("participants", frozenset({("status", "draft")})) in series else None


def at(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


#: Names and labels that dashboards and alerts of operators rely on.
NAMES = """
abort_seconds broker_errors_total{work} broker_seconds{work} broker_up cancel_seconds claims_total{result}
commits_total{result} event_streams foreign_messages_total{source} http_request_seconds{route}
http_requests_total{route,status} last_sweep_timestamp_seconds{work} last_webhook_pass_timestamp_seconds lease_seconds
leases_lost_total llm_calls_total{model,result} llm_cost_total{model} llm_seconds{model} llm_tokens_total{model,kind}
oldest_pending_seconds owed_messages participants{status} participants_ended_total{status,reason} pending_by_age{age}
preempted_total queue_messages{queue} recovered_total{result} refill_seconds refused_calls_total{limit}
republished_total{queue} retention_deleted_total run_slots{kind} runs{kind} runs_total{ending} slots_wanted
step_seconds{environment,mind}
stop_seconds{by} store_errors_total{kind} store_seconds{kind} store_up sweeps_total{work,result} transaction_writes
waited_for waiters webhook_attempts_total{result} webhook_seconds webhooks_dead_total webhooks_oldest_seconds
webhooks_pending window_messages window_size workers workers_by_kind{kind}
"""


@pytest.mark.parametrize("part", ["api", "worker", "sweeper", "webhooks"])
def test_every_series_is_declared_with_its_labels(part: Component) -> None:
    metrics.observe_step("web", "heuristic", 0.1)
    metrics.observe_llm_call("m", "answered", 1)
    metrics.count_llm_usage("m", input_tokens=1, output_tokens=2, cost=0.5)
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in MetricsExporter(part).collect()
        if not family.name.startswith("process_")
    }
    declared = {name: spec for name, spec in METRIC_SPECS.items() if part in spec.parts and spec.kind != "gauge"}
    assert {name: (family.type, family.documentation) for name, family in families.items()} == {
        name: (spec.kind, spec.help) for name, spec in declared.items()
    }
    undeclared = [
        sample
        for name, family in families.items()
        for sample in family.samples
        if sample.labels.keys() - {"le"} != declared[name].labels.keys()
        or any(values and sample.labels[label] not in values for label, values in declared[name].labels.items())
    ]
    assert undeclared == []


def test_names_and_labels_stay_as_operators_know_them() -> None:
    assert NAMES.split() == [
        name.removeprefix("understudy_") + (f"{{{','.join(spec.labels)}}}" if spec.labels else "")
        for name, spec in sorted(METRIC_SPECS.items())
    ]


def test_a_label_whose_values_callers_choose_takes_few_of_them() -> None:
    taken = Counter(bounded("made_up", f"value {k}") for k in range(MAX_LABEL_VALUES + 30))
    assert len(taken) == MAX_LABEL_VALUES + 1
    assert taken[OTHER] == 30
    assert bounded("made_up", "value 0") == "value 0"


@pytest.fixture
def fresh_api(settings: Settings) -> Iterator[str]:
    """An API of this test alone: no metrics were read from it, and no other thread reads its events."""
    with serve_in_thread(create_app(settings)) as url:
        yield url


def test_gauges_count_all_workspaces_together_and_name_none(
    fresh_api: str, store: Store, acme: ApiClient, rival: ApiClient
) -> None:
    for caller, count in ((acme, 3), (rival, 2)):
        make_run(store, caller, count)
    # The first count of participants that are not active may take longer than a request waits.
    series = wait_until(lambda: with_drafts(f"{fresh_api}/metrics"))
    gauges = {name: spec for name, spec in METRIC_SPECS.items() if spec.kind == "gauge" and "api" in spec.parts}
    age = at(series, "oldest_pending_seconds")
    assert 0 < age < 600
    counts = {
        **{("participants", status): 5 if status == "pending" else 0 for status in Status},
        **{("queue_messages", queue): 0 for queue in Queue},
        **{("workers_by_kind", kind): 0 for kind in WorkerKind},
        **{(name, ""): 0 for name in ("workers", "waiters", "waited_for", "event_streams")},
        **{("pending_by_age", age): 5 if age == "10s" else 0 for age in AGES.values()},
        ("owed_messages", ""): 5,
        ("slots_wanted", ""): 5,
        ("window_messages", ""): 0,
        ("window_size", ""): MIN_WINDOW,
        ("oldest_pending_seconds", ""): age,
        ("store_up", ""): 1,
        ("broker_up", ""): 1,
    }
    assert counts == {
        (name, "".join(dict(labels).values())): value
        for (name, labels), value in series.items()
        if f"understudy_{name}" in gauges
    }


def test_inactive_participants_are_counted_now_and_then(fresh_api: str, store: Store, acme: ApiClient) -> None:
    def counted(*statuses: Status) -> list[float]:
        series = read(f"{fresh_api}/metrics")
        return [at(series, "participants", status=status) for status in statuses]

    study, _ = make_run(store, acme, 3)
    acme.post("/v1/simulations/cancel", {"study_id": str(study)})
    make_run(store, acme, 2, status=Status.DRAFT)
    wait_until(lambda: with_drafts(f"{fresh_api}/metrics"))
    assert counted(Status.DRAFT, Status.CANCELLED, Status.FAILED) == [2, 3, 0]
    # A request soon after that gets the same count; active participants are counted for each request.
    make_run(store, acme, 4, status=Status.DRAFT)
    make_run(store, acme)
    assert counted(Status.DRAFT, Status.PENDING) == [2, 1]


@one_store
def test_a_slow_count_runs_once_and_delays_no_request(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on, counts = threading.Event(), threading.Event(), itertools.count()

    def count(_: Connection) -> dict[Status, int]:
        began.set()
        assert go_on.wait(60)
        return {Status.DRAFT: next(counts)}

    monkeypatch.setattr("understudy.service.health.participants.inactive_counts", count)
    with serve_in_thread(create_app(settings)) as url:
        series = read(f"{url}/metrics")
        assert began.is_set()
        assert at(series, "participants", status="pending") == 0
        assert ("participants", frozenset({("status", "draft")})) not in series
        go_on.set()
        wait_until(lambda: with_drafts(f"{url}/metrics"))
        assert at(read(f"{url}/metrics"), "participants", status="draft") == 0
    assert next(counts) == 1


@one_store
def test_waits_and_their_participants_are_counted(api: str, store: Store, acme: ApiClient) -> None:
    study, made = make_run(store, acme, 3)
    ids = [str(id_) for id_ in made]
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(acme.post, "/v1/simulations/wait", {"participant_ids": some}) for some in (ids, ids[:1])]
        wait_until(lambda: at(read(f"{api}/metrics"), "waiters") == 2)
        assert at(read(f"{api}/metrics"), "waited_for") == 3
        acme.post("/v1/simulations/cancel", {"study_id": str(study)})
        assert [call.result().json()["ok"] for call in calls] == [True, True]
    series = read(f"{api}/metrics")
    assert at(series, "waiters") == at(series, "waited_for") == 0


def test_without_pending_participants_their_age_is_0(api: str) -> None:
    assert at(read(f"{api}/metrics"), "oldest_pending_seconds") == 0


def test_gauges_of_an_unavailable_store_and_broker_are_left_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"127.0.0.1:{closed.getsockname()[1]}"
    away = Settings(database_url=f"postgresql://x@{nowhere}/x", broker_url=f"redis://{nowhere}", data_dir=tmp_path)
    with serve_in_thread(create_app(away)) as url:
        series = read(f"{url}/metrics")
    assert at(series, "store_up") == at(series, "broker_up") == 0
    assert ("waited_for", frozenset()) in series
    assert not {"participants", "workers", "oldest_pending_seconds", "queue_messages"} & {name for name, _ in series}


@one_store
def test_requests_are_counted_by_their_route(acme: ApiClient) -> None:
    before = read(f"{acme.api}/metrics")
    requests = [*("/v1/participants/t-000", "/v1/participants/t-111"), *("/nowhere", "/v1/nowhere", "/favicon.ico")]
    statuses = [acme.get(path).status_code for path in requests]
    assert statuses == [404] * 5
    assert acme.post("/v1/people", {"generate": 1}).status_code == 201
    httpx.get(f"{acme.api}/v1/studies", trust_env=False)
    after = read(f"{acme.api}/metrics")
    counted = {
        tuple(sorted(labels)): value - before.get((name, labels), 0)
        for (name, labels), value in after.items()
        if name in {"http_requests_total", "http_request_seconds_count"}
    }
    expected = {
        (("route", "/v1/participants/{participant_id}"), ("status", "404")): 2,
        (("route", "/v1/people"), ("status", "201")): 1,
        (("route", OTHER), ("status", "401")): 1,
        (("route", OTHER), ("status", "404")): 3,
        (("route", "/v1/people"),): 1,
    }
    assert {labels: counted[labels] for labels in expected} == expected


@one_store
def test_an_unexpected_error_is_counted_with_status_500(acme: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("understudy.documentation.list_docs", fail)
    assert acme.get("/v1/docs").status_code == 500
    assert at(read(f"{acme.api}/metrics"), "http_requests_total", route="/v1/docs", status="500") >= 1


@one_store
def test_a_cancel_is_timed_and_counted(acme: ApiClient, store: Store) -> None:
    def figures() -> tuple[float, float]:
        series = read(f"{acme.api}/metrics")
        ended = at(series, "participants_ended_total", status="cancelled", reason="")
        return at(series, "cancel_seconds_count"), ended

    timed, ended = figures()
    study, _ = make_run(store, acme, 3)
    acme.post("/v1/simulations/cancel", {"study_id": str(study)})
    # A refused cancel stops no participant and is not timed.
    assert acme.post("/v1/simulations/cancel", {"study_id": "s-fff"}).status_code == 404
    assert figures() == (timed + 1, ended + 3)


def test_a_port_that_is_taken_ends_the_process_with_an_explanation() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit, match="another --metrics-port"):
        start_metrics_server(Settings(metrics_port=taken.getsockname()[1]), "sweeper")


def test_without_a_port_no_metrics_server_starts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "understudy.telemetry.exporter"):
        start_metrics_server(Settings(), "worker")
    assert not caplog.messages


def test_a_metrics_server_logs_its_address_and_answers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "understudy.telemetry.exporter"):
        server = start_metrics_server(Settings(metrics_port=0), "worker")
    server.gauges = lambda: metrics.worker_gauges("run", 7, 3, -1.5)
    url = caplog.messages[-1].removeprefix("metrics at ")
    series = read(url)
    assert at(series, "run_slots", kind="run") == 7
    assert at(series, "runs", kind="run") == 3
    assert at(series, "lease_seconds") == -1.5
    assert httpx.get(url.replace("/metrics", "/healthz"), trust_env=False).text == "ok\n"
    assert httpx.get(url.replace("/metrics", "/nowhere"), trust_env=False).status_code == 404


def test_what_each_request_for_metrics_reads_uses_indexes(store: Store) -> None:
    seen: list[tuple[str, Any]] = []
    with store.read() as connection:
        if connection.dialect.name == "postgresql":
            # PostgreSQL would not use an index for a table this small.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "

        @event.listens_for(connection, "before_cursor_execute")
        def _(_connection: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
            seen.append((statement, given))

        participants.active_counts(connection)
        backlog(connection, [10])
        asked = [one for one in seen if "participant" in one[0]]
        plans = [str(connection.exec_driver_sql(explain + statement, given).all()) for statement, given in asked]
    assert plans
    assert [plan for plan in plans if "ix_participant_" not in plan] == []
