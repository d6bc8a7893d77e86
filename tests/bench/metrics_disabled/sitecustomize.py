"""Python loads this first where this folder is on its path: nothing is counted in such a process."""

import contextlib
from typing import Any

from prometheus_client import Counter, Histogram


def _nothing(*_: Any) -> None:
    """Count nothing."""


def _no_time(*_: Any) -> contextlib.nullcontext[None]:
    return contextlib.nullcontext()


Counter.inc = _nothing  # type: ignore[assignment]
Histogram.observe = _nothing  # type: ignore[assignment]
Histogram.time = _no_time  # type: ignore[assignment,method-assign]
