"""OpenTelemetry traces: one trace covers a request, its run messages and their steps. Off by default.

The headers of a run message carry the trace of its request. A message from the sweeper carries no trace: its
run starts a new one, because the request may be hours old.
"""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal, Protocol

from understudy.settings import Settings
from understudy.telemetry import logs

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

Kind = Literal["server", "consumer", "internal"]


class SpanUpdater(Protocol):
    """Updates a span while it is open."""

    def __call__(self, attributes: Mapping[str, str | int], name: str | None = None) -> None:
        """Adds attributes; renames the span if `name` is given."""


_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: Headers that carry a trace.
TRACE_HEADERS = ("traceparent", "tracestate")
#: Seconds that an ending process waits for the collector.
_FLUSH_S = 2

_provider: "TracerProvider | None" = None


def configure(settings: Settings, part: str) -> None:
    """Exports spans to `traces_endpoint`, else to the endpoint in OpenTelemetry's variables.

    Without either, tracing stays off and OpenTelemetry is not imported. Exits the process if an endpoint is
    set and the extra `traces` is not installed.
    """
    if not settings.traces_endpoint and not any(map(os.environ.get, _ENDPOINTS)):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    except ImportError:
        sys.exit("A traces endpoint is set without OpenTelemetry. Run: pip install 'understudy[traces]'")
    endpoint = settings.traces_endpoint.rstrip("/")
    set_exporter(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces") if endpoint else OTLPSpanExporter(), part)


def set_exporter(exporter: "SpanExporter", part: str) -> None:
    """Turns tracing on and sends spans to `exporter`."""
    global _provider  # noqa: PLW0603 - one per process, as in OpenTelemetry
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    name = os.environ.get("OTEL_SERVICE_NAME") or f"understudy-{part}"
    resource = Resource.create({"service.name": name})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(exporter))


def close() -> None:
    """Turns tracing off and flushes; waits at most 2 s for an unavailable collector."""
    global _provider
    provider, _provider = _provider, None
    if provider is not None:
        # `force_flush` exceeds its own timeout, so a thread bounds the wait.
        flush = threading.Thread(target=provider.force_flush, name="traces", daemon=True)
        flush.start()
        flush.join(_FLUSH_S)


def is_enabled() -> bool:
    """Returns whether tracing is on."""
    return _provider is not None


def span(
    name: str, kind: Kind = "internal", carrier: Mapping[str, str] | None = None, **attributes: str | int
) -> AbstractContextManager[SpanUpdater]:
    """Times this block as a span of the current trace.

    `carrier` holds the headers of a request or message; if they carry a trace, the span continues it. The
    yielded callable adds attributes and renames the span. Costs almost nothing while tracing is off.
    """
    return _OFF if _provider is None else _span(_provider, name, kind, carrier, attributes)


@contextmanager
def _span(
    provider: "TracerProvider",
    name: str,
    kind: Kind,
    carrier: Mapping[str, str] | None,
    attributes: Mapping[str, str | int],
) -> Iterator[SpanUpdater]:
    from opentelemetry import propagate, trace  # noqa: PLC0415

    parent = None if carrier is None else propagate.extract(carrier)
    with provider.get_tracer("understudy").start_as_current_span(
        name,
        context=parent,
        kind=trace.SpanKind[kind.upper()],
        attributes={f"understudy.{key}": value for key, value in attributes.items()},
        # Error texts may quote secrets; the log has them redacted.
        record_exception=False,
        set_status_on_exception=False,
    ) as current:

        def update(attributes: Mapping[str, str | int], name: str | None = None) -> None:
            current.set_attributes(attributes)
            if name is not None:
                current.update_name(name)

        try:
            with logs.log_context(trace_id=trace.format_trace_id(current.get_span_context().trace_id)):
                yield update
        except Exception as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def inject_trace_headers() -> dict[str, str]:
    """Returns headers that carry the current trace; empty while tracing is off."""
    headers: dict[str, str] = {}
    if _provider is not None:
        from opentelemetry import propagate  # noqa: PLC0415

        propagate.inject(headers)
    return headers


def _noop_update(attributes: Mapping[str, str | int], name: str | None = None) -> None:
    """Does nothing; used while tracing is off."""


#: Stateless, so many blocks can share it.
_OFF: AbstractContextManager[SpanUpdater] = nullcontext(_noop_update)
