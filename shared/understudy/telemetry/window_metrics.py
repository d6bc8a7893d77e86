"""Metrics of fair shares: what waits and for how long, the window of run messages, and slots given up."""

from understudy.telemetry.exporter import CallbackGauge, counter, histogram

#: Upper bounds of the age of a pending participant in seconds, and their names.
AGES = {10: "10s", 60: "1m", 600: "10m", None: "more"}

pending_by_age = CallbackGauge(
    "understudy_pending_by_age",
    "Pending participants by the time for which they have waited, at most.",
    "api",
    age=tuple(AGES.values()),
)
window_messages = CallbackGauge("understudy_window_messages", "Run messages published and not taken yet.", "api")
window_size = CallbackGauge("understudy_window_size", "Run messages that may be published at a time.", "api")
slots_wanted = CallbackGauge(
    "understudy_slots_wanted",
    "Slots that participants have or could use now; paused ones and those above a limit do not count.",
    "api",
)
refill_seconds = histogram(
    "understudy_refill_seconds",
    "Duration of a refill of the window in the store.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    *("api", "worker", "sweeper"),
)
preempted = counter(
    "understudy_preempted_total",
    "Runs asked to give up their slot for a workspace below its share.",
    *("api", "worker", "sweeper"),
)
