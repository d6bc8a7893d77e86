"""Declares metrics and exposes the metrics of a process to Prometheus."""

import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from itertools import product
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import prometheus_client
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from understudy.domain.broker_address import bracket_host
from understudy.settings import Settings

# Creation times would add a second, unused series to each counter.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

__all__ = [
    "METRIC_SPECS",
    "OTHER",
    "CallbackGauge",
    "Component",
    "Family",
    "MetricsExporter",
    "bounded",
    "counter",
    "histogram",
    "start_metrics_server",
]

log = logging.getLogger(__name__)

Component = Literal["api", "worker", "sweeper", "webhooks"]
Labels: TypeAlias = tuple[str, ...]
Counted = TypeVar("Counted", Counter, Histogram)

#: Maximum values of a label that users choose; further values become `other`.
MAX_LABEL_VALUES = 20
OTHER = "other"


class MetricSpec(NamedTuple):
    """Describes a metric by the name that PromQL uses."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    #: Each label with its values; empty if plug-ins, models or routes define them.
    labels: Mapping[str, Sequence[str]]
    parts: tuple[Component, ...]


#: Every metric, once `metrics` and `window_metrics` are imported.
METRIC_SPECS: dict[str, MetricSpec] = {}
_counted: dict[str, Counter | Histogram] = {}
_label_values: dict[str, set[str]] = {}
_process = ProcessCollector(registry=CollectorRegistry())


def counter(name: str, help_: str, *parts: Component, **labels: Sequence[str]) -> Counter:
    """Declares and returns a counter."""
    return _register(
        MetricSpec(name, "counter", help_, labels, parts), Counter(name, help_, tuple(labels), registry=None)
    )


def histogram(name: str, help_: str, buckets: Sequence[float], *parts: Component, **labels: Sequence[str]) -> Histogram:
    """Declares and returns a histogram with these bucket bounds."""
    metric = Histogram(name, help_, tuple(labels), registry=None, buckets=buckets)
    return _register(MetricSpec(name, "histogram", help_, labels, parts), metric)


def _register(spec: MetricSpec, metric: Counted) -> Counted:
    METRIC_SPECS[spec.name] = spec
    _counted[spec.name] = metric
    if spec.labels:
        # Create the series at 0: `rate` and `increase` would miss the first event of a new series.
        for values in product(*spec.labels.values()):
            metric.labels(*values)
    return metric


class CallbackGauge:
    """A gauge that is read at each scrape."""

    def __init__(self, name: str, help_: str, *parts: Component, **labels: Sequence[str]) -> None:
        METRIC_SPECS[name] = self._spec = MetricSpec(name, "gauge", help_, labels, parts)

    def sample(self, value: float) -> Family:
        """Returns the sample of a gauge without labels."""
        return self.samples({(): value})

    def samples(self, values: Mapping[Labels, float]) -> Family:
        """Returns the samples by their label values."""
        family = GaugeMetricFamily(self._spec.name, self._spec.help, labels=tuple(self._spec.labels))
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


def bounded(label: str, value: str) -> str:
    """Returns `value`, or `other` if the process has seen MAX_LABEL_VALUES other values of `label`."""
    known = _label_values.setdefault(label, set())
    if value not in known:
        if len(known) >= MAX_LABEL_VALUES:
            return OTHER
        known.add(value)
    return value


class MetricsExporter:
    """Exports the metrics of one component: counters, histograms and current gauges."""

    def __init__(self, part: Component, gauges: Callable[[], Iterable[Family]] = lambda: ()) -> None:
        self._part = part
        self.gauges = gauges

    def collect(self) -> Iterator[Family]:
        """Yields all metric families, as prometheus_client expects."""
        yield from self.gauges()
        for name, metric in _counted.items():
            if self._part in METRIC_SPECS[name].parts:
                yield from metric.collect()
        yield from _process.collect()

    def text(self) -> bytes:
        """Returns the metrics in the Prometheus text format."""
        return generate_latest(self)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def start_metrics_server(settings: Settings, part: Component) -> MetricsExporter:
    """Serves `GET /metrics` and `GET /healthz` at `metrics_port` in background threads, if a port is set.

    Returns the exporter; set its `gauges`. Exits the process if the port is unavailable: an unmonitored
    process is worse than one that does not start.
    """
    exporter = MetricsExporter(part)
    if settings.metrics_port is None:
        return exporter
    host, port = settings.metrics_host, settings.metrics_port
    try:
        server = _listen(host, port, _metrics_handler({"/metrics": exporter.text, "/healthz": lambda: b"ok\n"}))
    except OSError as error:
        sys.exit(f"Cannot serve metrics at {bracket_host(host)}:{port} ({error}). Choose another --metrics-port.")
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("metrics at http://%s:%d/metrics", bracket_host(host), server.server_address[1])
    return exporter


def _listen(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    server = _Server(address, handler, bind_and_activate=False)  # type: ignore[arg-type]
    server.socket.close()
    server.address_family = family
    server.socket = socket.socket(family, server.socket_type)
    try:
        server.server_bind()
        server.server_activate()
    except OSError:
        server.server_close()
        raise
    return server


def _metrics_handler(pages: Mapping[str, Callable[[], bytes]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Serves `pages`; closes each connection after the response."""

        #: Seconds after which an idle connection is closed.
        timeout = 10

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            body = b"not found; use /metrics or /healthz\n" if page is None else page()
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST if page else "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Logs nothing: scrapes are frequent."""

    return Handler
