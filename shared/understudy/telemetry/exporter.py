"""Metrics as Prometheus reads them: what a declaration is, and how a process shows what it has counted."""

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

from understudy.settings import Settings

# When a counter began would be a second series beside each of them; nobody asks for it.
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

Component = Literal["api", "worker", "sweeper"]
Labels: TypeAlias = tuple[str, ...]
Counted = TypeVar("Counted", Counter, Histogram)

#: Values of a label that others choose: what comes after so many is `other`.
MAX_LABEL_VALUES = 20
OTHER = "other"


class MetricSpec(NamedTuple):
    """A metric as expressions name it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    #: Each label with the values it takes; none: they come from plug-ins, models or routes.
    labels: Mapping[str, Sequence[str]]
    parts: tuple[Component, ...]


#: Every metric, once `understudy.telemetry.metrics` is imported.
METRIC_SPECS: dict[str, MetricSpec] = {}
_counted: dict[str, Counter | Histogram] = {}
_seen: dict[str, set[str]] = {}
_process = ProcessCollector(registry=CollectorRegistry())


def counter(name: str, help_: str, *parts: Component, **labels: Sequence[str]) -> Counter:
    """Declare something that is counted."""
    return _register(
        MetricSpec(name, "counter", help_, labels, parts), Counter(name, help_, tuple(labels), registry=None)
    )


def histogram(
    name: str, help_: str, buckets: Sequence[float], *parts: Component, **labels: Sequence[str]
) -> Histogram:
    """Declare something that is measured, and the bounds that matter."""
    metric = Histogram(name, help_, tuple(labels), registry=None, buckets=buckets)
    return _register(MetricSpec(name, "histogram", help_, labels, parts), metric)


def _register(declared: MetricSpec, metric: Counted) -> Counted:
    METRIC_SPECS[declared.name] = declared
    _counted[declared.name] = metric
    if declared.labels:
        # A series that began with its first event would hide that one from `rate` and `increase`.
        for values in product(*declared.labels.values()):
            metric.labels(*values)
    return metric


class CallbackGauge:
    """A gauge that is read when somebody looks."""

    def __init__(self, name: str, help_: str, *parts: Component, **labels: Sequence[str]) -> None:
        METRIC_SPECS[name] = self._declared = MetricSpec(name, "gauge", help_, labels, parts)

    def sample(self, value: float) -> Family:
        """The figure, when it has no labels."""
        return self.samples({(): value})

    def samples(self, values: Mapping[Labels, float]) -> Family:
        """The figure, by the values of its labels."""
        family = GaugeMetricFamily(
            self._declared.name, self._declared.help, labels=tuple(self._declared.labels)
        )
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


def bounded(label: str, value: str) -> str:
    """`value`, or `other` once this process has seen MOST_VALUES others of this label."""
    seen = _seen.setdefault(label, set())
    if value not in seen:
        if len(seen) >= MAX_LABEL_VALUES:
            return OTHER
        seen.add(value)
    return value


class MetricsExporter:
    """What a process of this part shows: what it has counted, and its figures as of the look."""

    def __init__(self, part: Component, figures: Callable[[], Iterable[Family]] = lambda: ()) -> None:
        self._part = part
        self.gauges = figures

    def collect(self) -> Iterator[Family]:
        """All of it, as prometheus_client has it."""
        yield from self.gauges()
        for name, metric in _counted.items():
            if self._part in METRIC_SPECS[name].parts:
                yield from metric.collect()
        yield from _process.collect()

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def start_metrics_server(settings: Settings, part: Component) -> MetricsExporter:
    """Answer `GET /metrics` at `metrics_port`, if there is one, from now on, in threads of its own.

    `GET /healthz` says that the process answers. What is shown is the result, to give it `gauges`.
    Ends the process when the port cannot be had: one that nobody sees is worse than one that does not run.
    """
    exposition = MetricsExporter(part)
    if settings.metrics_port is None:
        return exposition
    host, port = settings.metrics_host, settings.metrics_port
    try:
        server = _listen(
            host, port, _metrics_handler({"/metrics": exposition.text, "/healthz": lambda: b"ok\n"})
        )
    except OSError as error:
        sys.exit(f"Metrics cannot be shown at {host}:{port} ({error}): choose another --metrics-port.")
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("metrics at http://%s:%d/metrics", host, server.server_address[1])
    return exposition


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
        """Answers with one of `pages`, and keeps nobody's connection."""

        #: Seconds after which somebody who says nothing is left alone.
        timeout = 10

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            body = b"There are /metrics and /healthz here.\n" if page is None else page()
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST if page else "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of each look."""

    return Handler
