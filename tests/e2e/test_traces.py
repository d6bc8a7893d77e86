"""Traces from a request over its run messages to the steps, as a collector receives them."""

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.dedicated_brokers import headers
from tests.e2e.participants import dispatch_participants
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.domain.queues import Queue
from understudy.settings import Settings
from understudy.store.engine import Store

pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


class Collector:
    """Receives spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
                for each in request.resource_spans:
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


def test_a_trace_leads_from_the_request_over_the_message_to_the_steps(
    store: Store, settings: Settings, fleet: Fleet, collector: Collector
) -> None:
    soon = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    *_, api = fleet.start("run-1", "sweeper", "api", **soon)
    with ApiClient(store, api.url, "acme") as acme:
        study, (iteration,) = make_study(store, acme.workspace_id)
        dispatch_participants(acme, study, 2, max_interactions=3)
        wait_until(lambda: len(collector.named("simulation.run")) == 2)
        # Another process sends it, possibly later.
        wait_until(lambda: collector.named("POST /v1/studies/{study_id}/run"))
        (request,) = collector.named("POST /v1/studies/{study_id}/run")
        runs = {span.span_id: span for span in collector.named("simulation.run")}
        assert {span.trace_id for span in runs.values()} == {request.trace_id}
        assert {span.parent_span_id for span in runs.values()} == {request.span_id}
        per_run = {"claim.commit": 1, "step": 3, "step.commit": 3}
        parents = {name: Counter(span.parent_span_id for span in collector.named(name)) for name in per_run}
        assert parents == {name: dict.fromkeys(runs, count) for name, count in per_run.items()}
        # A message of the sweeper belongs to no request.
        make_participants(store, acme.workspace_id, study, iteration, max_interactions=1)
        wait_until(lambda: len(collector.named("simulation.run")) == 3)
        (other,) = [span for span in collector.named("simulation.run") if span.span_id not in runs]
        assert not other.parent_span_id
        assert other.trace_id != request.trace_id
    assert collector.services == {"understudy-api", "understudy-worker"}
    spans = " ".join(map(str, collector.spans))
    assert acme.secret not in spans
    assert settings.broker_url not in spans


def test_a_request_joins_the_trace_of_its_caller(fleet: Fleet, collector: Collector) -> None:
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    (api,) = fleet.start("api", UNDERSTUDY_TRACES_ENDPOINT=collector.url)
    httpx.get(f"{api.url}/metrics", trust_env=False)
    httpx.get(f"{api.url}/v1/studies", headers={"traceparent": f"00-{trace_id}-{span_id}-01"}, trust_env=False)
    # At its end it sends all spans.
    api.stop()
    (span,) = collector.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace_id, span_id)
    (status,) = [item.value.int_value for item in span.attributes if item.key == "http.response.status_code"]
    assert status == 401


def test_without_a_collector_messages_have_no_trace_headers(store: Store, settings: Settings, acme: ApiClient) -> None:
    study, _ = make_study(store, acme.workspace_id)
    dispatch_participants(acme, study, 1)
    (sent,) = wait_until(lambda: headers(settings.broker_url, Queue.RUNS))
    assert "traceparent" not in sent
