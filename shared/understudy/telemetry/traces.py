"""Traces by OpenTelemetry: one from a request over its run messages to the steps. Off unless told where to.

A run message carries the trace of the request that asked for it, in its headers. One that a sweeper sends
carries none: its run begins a trace of its own, since what came before may be hours ago.
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
    """Takes what is only known while a span is on its way."""

    def __call__(self, attributes: Mapping[str, str | int], name: str | None = None) -> None:
        """Add attributes, and rename it."""


_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: Headers that name a trace.
TRACE_HEADERS = ("traceparent", "tracestate")
#: How long a process that ends waits for a collector to take what it has.
_FLUSH_S = 2

_provider: "TracerProvider | None" = None


def configure(settings: Settings, part: str) -> None:
    """Send spans to `traces_endpoint`, else to what the variables of OpenTelemetry name, from now on.

    Without either nothing is traced, and nothing of OpenTelemetry is loaded. Ends the process when spans are
    asked for and the extra `traces` is not installed.
    """
    if not settings.traces_endpoint and not any(map(os.environ.get, _ENDPOINTS)):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    except ImportError:
        sys.exit("Traces are asked for, and not installed: pip install 'understudy[traces]'.")
    endpoint = settings.traces_endpoint.rstrip("/")
    set_exporter(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces") if endpoint else OTLPSpanExporter(), part)


def set_exporter(exporter: "SpanExporter", part: str) -> None:
    """Give spans to `exporter` from now on."""
    global _provider  # noqa: PLW0603 - one for the process, as OpenTelemetry has it
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    name = os.environ.get("OTEL_SERVICE_NAME") or f"understudy-{part}"
    resource = Resource.create({"service.name": name})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(exporter))


def close() -> None:
    """Send what is there; trace no more. Does not wait long for a collector that is away."""
    global _provider
    provider, _provider = _provider, None
    if provider is not None:
        # Its own time limit is not kept.
        flush = threading.Thread(target=provider.force_flush, name="traces", daemon=True)
        flush.start()
        flush.join(_FLUSH_S)


def is_enabled() -> bool:
    """Is anything traced here?"""
    return _provider is not None


def span(
    name: str, kind: Kind = "internal", carrier: Mapping[str, str] | None = None, **attributes: str | int
) -> AbstractContextManager[SpanUpdater]:
    """Time what is done in this block, as a part of what is being traced here.

    With a `carrier` (headers of a request or a message), the span continues the trace that the headers name,
    if they name one. The yielded callable adds attributes and renames the span. Costs next to nothing while
    tracing is off.
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
        # What went wrong may quote what nobody is to see; the log tells it, with that hidden.
        record_exception=False,
        set_status_on_exception=False,
    ) as current:

        def tell(attributes: Mapping[str, str | int], name: str | None = None) -> None:
            current.set_attributes(attributes)
            if name is not None:
                current.update_name(name)

        try:
            with logs.log_context(trace_id=trace.format_trace_id(current.get_span_context().trace_id)):
                yield tell
        except Exception as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def inject_trace_headers() -> dict[str, str]:
    """Headers that name what is being traced here; none while nothing is."""
    headers: dict[str, str] = {}
    if _provider is not None:
        from opentelemetry import propagate  # noqa: PLC0415

        propagate.inject(headers)
    return headers


def _noop_update(attributes: Mapping[str, str | int], name: str | None = None) -> None:
    """While tracing is off."""


#: Entered by many at a time: it holds nothing.
_OFF: AbstractContextManager[SpanUpdater] = nullcontext(_noop_update)
