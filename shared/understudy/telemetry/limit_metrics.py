"""Counts the calls that limits and quotas of workspaces refuse."""

from understudy.telemetry.exporter import counter

refused_calls = counter(
    "understudy_refused_calls_total",
    "Calls that a limit or quota of their workspace refused, by that limit.",
    "api",
    limit=(
        *("requests_per_minute", "event_streams", "waits"),
        *("participants_per_day", "model_tokens_per_day", "stored_bytes"),
    ),
)
