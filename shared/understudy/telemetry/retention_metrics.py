"""Counts what the retention of workspaces deletes."""

from understudy.telemetry.exporter import counter

retention_deleted = counter(
    "understudy_retention_deleted_total",
    "Participants deleted because they ended longer ago than their workspace keeps them.",
    "sweeper",
)
