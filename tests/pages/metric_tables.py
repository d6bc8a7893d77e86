"""Metrics as Markdown, from their declarations."""

import understudy.telemetry.limit_metrics
import understudy.telemetry.metrics
import understudy.telemetry.retention_metrics  # noqa: F401 - declares them
from tests.pages.tables import table
from understudy.telemetry.exporter import METRIC_SPECS


def metrics() -> str:
    """A row for each metric."""
    return table(
        ("metric", "kind", "labels", "told by", "what it tells"),
        [
            (
                f"`{metric.name}`",
                metric.kind,
                ", ".join(_label(*label) for label in metric.labels.items()),
                ", ".join(metric.parts),
                metric.help,
            )
            for metric in METRIC_SPECS.values()
        ],
    )


def _label(name: str, values: object) -> str:
    known = ", ".join(map(str, values)) if isinstance(values, tuple) else ""
    return f"`{name}`" + (f" ({known})" if known else "")
