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

from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import serve_in_thread, wait_until
from understudy.api.app import create_app
from understudy.domain.lifecycle import Status
from understudy.domain.queues import Queue
from understudy.settings import Settings
from understudy.store import participants
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

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(url: str) -> Series:
    """Every series that is told there."""
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return series_of(answer.text)


def series_of(text: str) -> Series:
    return {
        (sample.name.removeprefix("understudy_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def drafts_are_told(series: Series) -> Series | None:
    """The series, if those who rest were counted."""
    return series if ("participants", frozenset({("status", "draft")})) in series else None


def at(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


#: What dashboards and alerts of others are made of: name, kind, who tells it, and its labels.
NAMES = """
understudy_abort_seconds                histogram worker
understudy_broker_errors_total          counter   api,worker,sweeper work
understudy_broker_seconds               histogram api,worker,sweeper work
understudy_broker_up                    gauge     api
understudy_cancel_seconds               histogram api
understudy_claims_total                 counter   worker             result
understudy_commits_total                counter   worker             result
understudy_event_streams                gauge     api
understudy_http_request_seconds         histogram api                route
understudy_http_requests_total          counter   api                route,status
understudy_last_sweep_timestamp_seconds gauge     sweeper            work
understudy_lease_seconds                gauge     worker
understudy_leases_lost_total            counter   worker
understudy_llm_calls_total              counter   worker             model,result
understudy_llm_cost_total               counter   worker             model
understudy_llm_seconds                  histogram worker             model
understudy_llm_tokens_total             counter   worker             model,kind
understudy_oldest_pending_seconds       gauge     api
understudy_owed_messages                gauge     api
understudy_participants                 gauge     api                status
understudy_participants_ended_total     counter   api,worker,sweeper status,reason
understudy_queue_messages               gauge     api                queue
understudy_recovered_total              counter   sweeper            result
understudy_republished_total            counter   sweeper            queue
understudy_run_slots                    gauge     worker             kind
understudy_runs                         gauge     worker             kind
understudy_runs_total                   counter   worker             ending
understudy_step_seconds                 histogram worker             environment,mind
understudy_stop_seconds                 histogram worker,sweeper     by
understudy_store_errors_total           counter   api,worker,sweeper kind
understudy_store_seconds                histogram api,worker,sweeper kind
understudy_store_up                     gauge     api
understudy_sweeps_total                 counter   sweeper            work,result
understudy_transaction_writes           histogram worker
understudy_waited_for                   gauge     api
understudy_waiters                      gauge     api
understudy_workers                      gauge     api
"""


# -- what is declared --------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["api", "worker", "sweeper"])
def test_every_series_is_declared_with_its_labels(part: Component) -> None:
    metrics.observe_step("web", "heuristic", 0.1)
    metrics.observe_llm_call("m", "answered", 1)
    metrics.count_llm_usage("m", input_tokens=1, output_tokens=2, cost=0.5)
    told = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in MetricsExporter(part).collect()
        if not family.name.startswith("process_")
    }
    declared = {name: metric for name, metric in METRIC_SPECS.items() if part in metric.parts}
    assert set(told) == {name for name, metric in declared.items() if metric.kind != "gauge"}
    for name, family in told.items():
        assert family.type == declared[name].kind
        assert family.documentation == declared[name].help
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(declared[name].labels)
            for label, values in declared[name].labels.items():
                assert not values or sample.labels[label] in values


def test_names_and_labels_are_those_that_others_know() -> None:
    known = [line.split() for line in NAMES.strip().splitlines()]
    assert known == [
        [name, metric.kind, ",".join(metric.parts), *filter(None, [",".join(metric.labels)])]
        for name, metric in sorted(METRIC_SPECS.items())
    ]


def test_names_say_what_is_counted_in_which_unit() -> None:
    for name, metric in METRIC_SPECS.items():
        assert name.startswith("understudy_")
        assert name.endswith("_total") == (metric.kind == "counter")
        if metric.kind == "histogram":
            assert name.endswith("_seconds") or name == "understudy_transaction_writes"
        assert not {"workspace", "study", "participant", "token", "person"} & set(metric.labels)


def test_a_label_that_others_choose_takes_few_values() -> None:
    taken = Counter(bounded("made_up", f"value {k}") for k in range(MAX_LABEL_VALUES + 30))
    assert len(taken) == MAX_LABEL_VALUES + 1
    assert taken[OTHER] == 30
    assert bounded("made_up", "value 0") == "value 0"


# -- of the API --------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_api(settings: Settings) -> Iterator[str]:
    """An API that nobody has looked at, and whose events nobody reads, as threads of earlier tests may."""
    with serve_in_thread(create_app(settings)) as url:
        yield url


def test_figures_count_all_workspaces_together_and_name_none(
    fresh_api: str, store: Store, acme: ApiClient, rival: ApiClient
) -> None:
    for who, many in ((acme, 3), (rival, 2)):
        study, (iteration,) = make_study(store, who.workspace_id)
        make_participants(store, who.workspace_id, study, iteration, many)
    # The first count of those who rest may take longer than a look waits.
    told = wait_until(lambda: drafts_are_told(read(f"{fresh_api}/metrics")))
    assert at(told, "participants", status="pending") == 5
    assert at(told, "participants", status="running") == 0
    assert at(told, "owed_messages") == 5
    assert 0 < at(told, "oldest_pending_seconds") < 600
    for name in ("workers", "waiters", "waited_for", "event_streams"):
        assert at(told, name) == 0
    for queue in Queue:
        assert at(told, "queue_messages", queue=queue) == 0
    assert at(told, "store_up") == at(told, "broker_up") == 1
    figures = {name for name, metric in METRIC_SPECS.items() if metric.kind == "gauge" and "api" in metric.parts}
    assert figures <= {f"understudy_{name}" for name, _ in told}
    for name in figures:
        for label, values in METRIC_SPECS[name].labels.items():
            told_of = {dict(labels)[label] for series, labels in told if f"understudy_{series}" == name}
            assert told_of == set(values)


def test_those_who_rest_are_counted_now_and_then(fresh_api: str, store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)

    def counted(status: Status) -> float:
        return at(read(f"{fresh_api}/metrics"), "participants", status=status)

    make_participants(store, acme.workspace_id, study, iteration, 3)
    acme.post("/v1/simulations/cancel", {"study_id": str(study)})
    make_participants(store, acme.workspace_id, study, iteration, 2, status=Status.DRAFT)
    wait_until(lambda: drafts_are_told(read(f"{fresh_api}/metrics")))
    assert [counted(status) for status in (Status.DRAFT, Status.CANCELLED, Status.FAILED)] == [2, 3, 0]
    # Whoever looks again soon is told what was counted before; those who are active are counted each time.
    make_participants(store, acme.workspace_id, study, iteration, 4, status=Status.DRAFT)
    make_participants(store, acme.workspace_id, study, iteration, 1)
    assert (counted(Status.DRAFT), counted(Status.PENDING)) == (2, 1)


def test_a_count_that_takes_long_is_seldom_and_holds_nobody_up(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, counts = threading.Event(), threading.Event(), itertools.count()

    def count(_: Connection) -> dict[Status, int]:
        began.set()
        assert go_on.wait(60)
        return {Status.DRAFT: next(counts)}

    monkeypatch.setattr("understudy.service.health.participants.inactive_counts", count)
    with serve_in_thread(create_app(settings)) as url:
        told = read(f"{url}/metrics")
        assert began.is_set()
        assert at(told, "participants", status="pending") == 0
        assert not drafts_are_told(told)
        go_on.set()
        wait_until(lambda: drafts_are_told(read(f"{url}/metrics")))
        assert at(read(f"{url}/metrics"), "participants", status="draft") == 0
    assert next(counts) == 1


def test_calls_that_wait_are_counted(api: str, store: Store, acme: ApiClient) -> None:
    study, (iteration,) = make_study(store, acme.workspace_id)
    ids = [str(id_) for id_ in make_participants(store, acme.workspace_id, study, iteration, 3)]
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(acme.post, "/v1/simulations/wait", {"participant_ids": some}) for some in (ids, ids[:1])]
        wait_until(lambda: at(read(f"{api}/metrics"), "waiters") == 2)
        assert at(read(f"{api}/metrics"), "waited_for") == 3
        acme.post("/v1/simulations/cancel", {"study_id": str(study)})
        assert all(call.result().json()["ok"] for call in calls)
    told = read(f"{api}/metrics")
    assert at(told, "waiters") == at(told, "waited_for") == 0


def test_nobody_pending_is_no_age(api: str) -> None:
    assert at(read(f"{api}/metrics"), "oldest_pending_seconds") == 0


def test_a_store_and_a_broker_that_are_away_take_their_figures_along_and_nothing_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nowhere = f"127.0.0.1:{nobody.getsockname()[1]}"
    away = Settings(database_url=f"postgresql://x@{nowhere}/x", broker_url=f"redis://{nowhere}", data_dir=tmp_path)
    with serve_in_thread(create_app(away)) as url:
        told = read(f"{url}/metrics")
    assert at(told, "store_up") == at(told, "broker_up") == 0
    assert ("waited_for", frozenset()) in told
    assert not {"participants", "workers", "oldest_pending_seconds", "queue_messages"} & {name for name, _ in told}


def test_requests_are_counted_by_their_route_whatever_is_asked_for(acme: ApiClient) -> None:
    before = read(f"{acme.api}/metrics")

    def more(name: str, **labels: str) -> float:
        key = name, frozenset(labels.items())
        return read(f"{acme.api}/metrics")[key] - before.get(key, 0)

    for id_ in ("t-000", "t-111"):
        assert acme.get(f"/v1/participants/{id_}").status_code == 404
    assert acme.post("/v1/people", {"generate": 1}).status_code == 201
    httpx.get(f"{acme.api}/v1/studies", trust_env=False)
    for path in ("/nowhere", "/v1/nowhere", "/favicon.ico"):
        acme.get(path)
    assert more("http_requests_total", route="/v1/participants/{participant_id}", status="404") == 2
    assert more("http_requests_total", route="/v1/people", status="201") == 1
    assert more("http_requests_total", route=OTHER, status="401") == 1
    assert more("http_requests_total", route=OTHER, status="404") == 3
    assert more("http_request_seconds_count", route="/v1/people") == 1


def test_what_breaks_is_counted_as_broken(acme: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("understudy.documentation.list_docs", broken)
    assert acme.get("/v1/docs").status_code == 500
    told = read(f"{acme.api}/metrics")
    assert at(told, "http_requests_total", route="/v1/docs", status="500") >= 1


def test_a_cancel_is_timed_and_counted(acme: ApiClient, store: Store) -> None:
    before = read(f"{acme.api}/metrics")
    study, (iteration,) = make_study(store, acme.workspace_id)
    make_participants(store, acme.workspace_id, study, iteration, 3)
    acme.post("/v1/simulations/cancel", {"study_id": str(study)})
    # What is refused stops nobody, and is over sooner.
    assert acme.post("/v1/simulations/cancel", {"study_id": "s-fff"}).status_code == 404
    after = read(f"{acme.api}/metrics")
    assert at(after, "cancel_seconds_count") - at(before, "cancel_seconds_count") == 1
    ended = "participants_ended_total"
    cancelled = {"status": "cancelled", "reason": ""}
    assert at(after, ended, **cancelled) - at(before, ended, **cancelled) == 3


# -- of a port of one's own --------------------------------------------------------------------------------


def test_a_port_that_is_taken_ends_the_process_with_a_word() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as told:
        start_metrics_server(Settings(metrics_port=taken.getsockname()[1]), "sweeper")
    assert "Choose another --metrics-port" in str(told.value)


def test_without_a_port_nothing_is_shown() -> None:
    assert Settings().metrics_port is None
    start_metrics_server(Settings(), "worker")


def test_a_port_of_ones_own_is_told_and_answers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "understudy.telemetry.exporter"):
        start_metrics_server(Settings(metrics_port=0), "worker").gauges = lambda: metrics.worker_gauges(
            "run", 7, 3, -1.5
        )
    url = caplog.messages[-1].removeprefix("metrics at ")
    told = read(url)
    assert at(told, "run_slots", kind="run") == 7
    assert at(told, "runs", kind="run") == 3
    assert at(told, "lease_seconds") == -1.5
    assert httpx.get(url.replace("/metrics", "/healthz"), trust_env=False).text == "ok\n"
    assert httpx.get(url.replace("/metrics", "/nowhere"), trust_env=False).status_code == 404


def test_what_is_read_at_each_look_reads_indexes_only(store: Store) -> None:
    seen: list[str] = []
    with store.read() as connection:
        if connection.dialect.name == "postgresql":
            # A table this small would be read as it is.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "

        @event.listens_for(connection, "before_cursor_execute", retval=True)
        def _(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> Any:
            seen.append(statement)
            return statement, parameters

        participants.active_counts(connection)
        participants.backlog_stats(connection)
        asked = [statement for statement in seen if "participant" in statement]
        assert len(asked) == 4
        for statement in asked:
            plan = " ".join(str(row) for row in connection.exec_driver_sql(explain + statement))
            assert "ix_participant_" in plan, plan
