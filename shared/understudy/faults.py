"""Fault points: code locations where a test kills, pauses or fails the process.

A fault point does nothing unless the setting `faults` arms it. `extend.commit.after=kill@2` kills the process
when it reaches the point for the second time; `=raise` raises InjectedFault instead. `=pause:/tmp/paused` writes the
process id to that file and stops the thread until a test deletes it. A fired fault writes a line to stderr:
`fault fired: extend.commit.after=kill`.
"""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

#: Each of these sites encloses one transaction. It has a point before, within and after it; the one within comes
#: after the statements and before the commit.
TRANSACTION_SITES = (
    "create.commit",
    "run.commit",
    "cancel.commit",
    "extend.commit",
    "run_message.reserve",
    "run_message.unreserve",
    "lease.commit",
    "claim.commit",
    "step.commit",
    "end.commit",
    "release.commit",
    "stop.commit",
    "heartbeat.commit",
    "watchdog_release.commit",
    "recover.commit",
    "record_stops.commit",
    "delete_expired.commit",
    "positions.commit",
    "deliveries.commit",
    "delivery_claim.commit",
    "delivery_settle.commit",
)
#: Each of these sites encloses messages to the broker, or one to a receiver of webhooks. It has a point before
#: and after them.
SEND_SITES = ("run_message.send", "stop_task.send", "abort.send", "notice.send", "delivery.send")
FAULT_SITES = (*TRANSACTION_SITES, *SEND_SITES)
#: Prefix of the line that a fired fault writes to stderr.
FIRED_PREFIX = "fault fired: "
#: A paused thread that no test resumes within this time in seconds raises InjectedFault.
MAX_PAUSE_S = 120

POINTS = (
    *(f"{site}.{side}" for site in TRANSACTION_SITES for side in ("before", "within", "after")),
    *(f"{site}.{side}" for site in SEND_SITES for side in ("before", "after")),
)


class InjectedFault(Exception):
    """The error that an armed fault point raises."""


@dataclass(frozen=True, slots=True)
class _Fault:
    action: str
    #: The fault fires when the point is reached for this time, counted from 1.
    on: int
    #: Of a pause: exists while the thread is paused.
    file: Path | None
    reached: Iterator[int] = field(default_factory=lambda: itertools.count(1))


_armed: dict[str, _Fault] = {}
#: The transaction sites that enclose the current code.
_sites: ContextVar[tuple[str, ...]] = ContextVar("_sites", default=())


def parse(faults: str) -> dict[str, _Fault]:
    """Returns the faults in `faults` by point. Raises ValueError for an unknown point or action."""
    parsed = {}
    for fault in filter(None, faults.split(",")):
        point, _, trigger = fault.partition("=")
        trigger, _, on = trigger.partition("@")
        action, _, file = trigger.partition(":")
        known = action in {"kill", "raise", "pause"} and bool(file) == (action == "pause")
        if point not in POINTS or not known or not (on or "1").isdecimal():
            raise ValueError(f"unknown fault {fault!r}; use POINT=kill|raise|pause:FILE[@N]: {', '.join(POINTS)}")
        parsed[point] = _Fault(action, int(on or 1), Path(file) if file else None)
    return parsed


def arm(faults: str) -> None:
    """Arms exactly `faults` in this process: `POINT=kill|raise|pause:FILE[@N]`, comma-separated; "" disarms all.

    Raises ValueError for an unknown point or action.
    """
    _armed.clear()
    _armed.update(parse(faults))


def hit(point: str) -> None:
    """Kills the process, pauses the thread or raises InjectedFault if `point` is armed and its time has come."""
    fault = _armed.get(point)
    if fault is None or next(fault.reached) != fault.on:
        return
    # Unbuffered: a killed process does not flush its buffers.
    os.write(2, f"{FIRED_PREFIX}{point}={fault.action}\n".encode())
    if fault.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.file is None:
        raise InjectedFault(point)
    _pause(point, fault.file)


def hit_within() -> None:
    """Hits the point within each enclosing site. The store calls it in each transaction, before the commit."""
    for site in _sites.get():
        hit(f"{site}.within")


@contextlib.contextmanager
def fault_site(site: str) -> Iterator[None]:
    """Hits the points directly before and after this block; not the second if the block raises."""
    if not _armed:
        yield
        return
    hit(f"{site}.before")
    token = _sites.set((*_sites.get(), site))
    try:
        yield
    finally:
        _sites.reset(token)
    hit(f"{site}.after")


def _pause(point: str, file: Path) -> None:
    file.write_text(str(os.getpid()))
    deadline = time.monotonic() + MAX_PAUSE_S
    while file.exists():
        if time.monotonic() > deadline:
            raise InjectedFault(f"{point}: nothing deleted {file} within {MAX_PAUSE_S} s")
        time.sleep(0.01)
