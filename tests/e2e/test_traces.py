"""One trace from a request over its run messages to the steps, as a collector is told of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.dedicated_brokers import headers
from tests.e2e.participants import dispatch_participants
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, Process, free_port, wait_until
from understudy.deploy.ports import is_healthy
from understudy.domain.queues import Queue
from understudy.settings import Settings
from understudy.store.engine import Store


class Collector:
    """Takes spans by OTLP over HTTP, as OpenTelemetry's own does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                for each in told.resource_spans:
                    names = [item.value.string_value for item in each.resource.attributes if item.key == "service.name"]
                    collector.services.update(names)
                    collector.spans += [span for scope in each.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@contextmanager
def api_process(settings: Settings, **variables: str) -> Iterator[str]:
    port = free_port()
    process = Process(settings, "api", "--port", str(port), name="api", **variables)
    try:
        wait_until(lambda: is_healthy("127.0.0.1", port, "/readyz"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_trace_goes_from_the_request_over_the_message_to_the_steps(
    store: Store, settings: Settings, fleet: Fleet, collector: Collector
) -> None:
    soon = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    fleet.start("run-1", "sweeper", **soon)
    with api_process(settings, **soon) as url, ApiClient(store, url, "acme") as acme:
        study, (iteration,) = make_study(store, acme.workspace_id)
        dispatch_participants(acme, study, 2, max_interactions=3)
        wait_until(lambda: len(collector.named("simulation.run")) == 2)
        # Another process sends it, and may do so later.
        wait_until(lambda: collector.named("POST /v1/studies/{study_id}/run"))
        (request,) = collector.named("POST /v1/studies/{study_id}/run")
        runs = {span.span_id: span for span in collector.named("simulation.run")}
        assert {span.trace_id for span in runs.values()} == {request.trace_id}
        assert {span.parent_span_id for span in runs.values()} == {request.span_id}
        for name, each in (("claim.commit", 1), ("step", 3), ("step.commit", 3)):
            parts = [span for span in collector.named(name) if span.trace_id == request.trace_id]
            assert sorted(span.parent_span_id for span in parts) == sorted([*runs] * each)
        # Those that a sweeper sends were asked for by nobody just now.
        make_participants(store, acme.workspace_id, study, iteration, max_interactions=1)
        wait_until(lambda: len(collector.named("simulation.run")) == 3)
        (other,) = [span for span in collector.named("simulation.run") if span.span_id not in runs]
        assert not other.parent_span_id
        assert other.trace_id != request.trace_id
    assert collector.services == {"understudy-api", "understudy-worker"}
    told = " ".join(map(str, collector.spans))
    assert acme.secret not in told
    assert settings.broker_url not in told


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_caller_who_traces_finds_the_request_in_its_own_trace(
    store: Store, settings: Settings, collector: Collector
) -> None:
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with api_process(settings, UNDERSTUDY_TRACES_ENDPOINT=collector.url) as url:
        httpx.get(f"{url}/metrics", trust_env=False)
        httpx.get(f"{url}/v1/studies", headers={"traceparent": f"00-{trace_id}-{span_id}-01"}, trust_env=False)
    # Told to go, it has told what it had.
    (span,) = collector.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace_id, span_id)
    (status,) = [item.value.int_value for item in span.attributes if item.key == "http.response.status_code"]
    assert status == 401


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_without_a_collector_messages_carry_nothing_of_traces(
    store: Store, settings: Settings, acme: ApiClient
) -> None:
    study, _ = make_study(store, acme.workspace_id)
    dispatch_participants(acme, study, 1)
    (sent,) = wait_until(lambda: headers(settings.broker_url, Queue.RUNS))
    assert "traceparent" not in sent


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_collector_that_is_away_holds_nobody_up(store: Store, settings: Settings, fleet: Fleet) -> None:
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    (worker,) = fleet.start("run-1", **nowhere)
    with api_process(settings, **nowhere) as url, ApiClient(store, url, "acme") as acme:
        study, _ = make_study(store, acme.workspace_id)
        ids = dispatch_participants(acme, study, 2)
        assert acme.post("/v1/simulations/wait", {"participant_ids": ids, "timeout": 30}).json()["ok"]
    assert worker.stop() == 0
