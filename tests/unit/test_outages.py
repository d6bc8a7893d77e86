"""An outage is logged at its start, every minute and at its end."""

import logging

import pytest

from understudy.telemetry import outages
from understudy.telemetry.outages import OutageLog


def test_an_outage_is_a_few_lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = 1_000.0
    monkeypatch.setattr(outages.time, "monotonic", lambda: clock)
    caplog.set_level(logging.INFO)
    log = OutageLog(logging.getLogger("part"), "broker")
    log.succeeded()
    for _ in range(150):
        log.failed("refused", "messages wait")
        clock += 1
    log.succeeded()
    log.succeeded()
    assert caplog.messages == ["broker unavailable (refused); messages wait"] * 3 + [
        "broker available again after 150 s"
    ]
