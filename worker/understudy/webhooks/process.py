"""The process of the command `understudy webhooks`."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from understudy import faults
from understudy.settings import Settings
from understudy.store.engine import Store
from understudy.telemetry import logs, webhook_metrics
from understudy.telemetry.exporter import Family, start_metrics_server
from understudy.telemetry.store_metrics import StoreMetrics
from understudy.webhooks.deliverer import Deliverer
from understudy.webhooks.sender import Sender

#: Seconds that an ordered end may take, and the exit code after them; the same as a worker's.
SHUTDOWN_TIMEOUT_S = 20
EXIT_SHUTDOWN_TIMEOUT = 75
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_webhooks(settings: Settings, ready_file: Path | None = None) -> None:
    """Delivers webhooks until SIGTERM or SIGINT; attempts in flight may end, within their time limit."""
    logs.configure(settings, part="webhooks")
    faults.arm(settings.faults)
    exporter = start_metrics_server(settings, "webhooks")
    store = Store(settings.store_url, observer=StoreMetrics())

    def report_ready() -> None:
        if ready_file is not None:
            ready_file.touch()

    async def run() -> None:
        deliverer = Deliverer(settings, store, Sender(settings.receiver_networks))

        def gauges() -> Iterator[Family]:
            return webhook_metrics.gauges(deliverer.backlog.pending, deliverer.backlog.oldest_s)

        exporter.gauges = gauges
        stopping = asyncio.Event()

        def stop() -> None:
            stopping.set()
            # A store that never answers would block the end for ever; claims end by themselves.
            forced = threading.Timer(SHUTDOWN_TIMEOUT_S, os._exit, (EXIT_SHUTDOWN_TIMEOUT,))
            forced.daemon = True
            forced.start()

        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, stop)
        report_ready()
        await deliverer.run(stopping)

    asyncio.run(run())
    store.dispose()
