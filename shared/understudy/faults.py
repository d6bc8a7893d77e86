"""Fault points: code locations where a test kills the process or raises an error.

A fault point does nothing unless the setting `faults` arms it: `extend.commit.after=kill@2` kills the process
when it reaches the point for the second time; `=raise` raises InjectedFault instead. A fired fault writes a
line to stderr: `fault fired: extend.commit.after=kill`.
"""

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Each site has one point directly before and one directly after it.
FAULT_SITES = (
    "create.commit",
    "run.commit",
    "cancel.commit",
    "extend.commit",
    "run_message.reserve",
    "run_message.send",
    "run_message.unreserve",
    "stop_task.send",
    "abort.send",
    "notice.send",
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
)
#: Prefix of the line that a fired fault writes to stderr.
FIRED_PREFIX = "fault fired: "

POINTS = tuple(f"{site}.{side}" for site in FAULT_SITES for side in ("before", "after"))


class InjectedFault(Exception):
    """The error that an armed fault point raises."""


@dataclass(frozen=True, slots=True)
class _Fault:
    action: str
    #: The fault fires when the point is reached for this time, counted from 1.
    on: int
    reached: Iterator[int] = field(default_factory=lambda: itertools.count(1))


_armed: dict[str, _Fault] = {}


def parse(faults: str) -> dict[str, _Fault]:
    """Returns the faults in `faults` by point. Raises ValueError for an unknown point or action."""
    parsed = {}
    for fault in filter(None, faults.split(",")):
        point, _, trigger = fault.partition("=")
        action, _, on = trigger.partition("@")
        if point not in POINTS or action not in {"kill", "raise"} or not (on or "1").isdecimal():
            raise ValueError(f"unknown fault {fault!r}; use POINT=kill|raise[@N]: {', '.join(POINTS)}")
        parsed[point] = _Fault(action, int(on or 1))
    return parsed


def arm(faults: str) -> None:
    """Arms exactly `faults` in this process: `POINT=kill|raise[@N]`, comma-separated; "" disarms all.

    Raises ValueError for an unknown point or action.
    """
    _armed.clear()
    _armed.update(parse(faults))


def hit(point: str) -> None:
    """Kills the process or raises InjectedFault if `point` is armed and its time has come."""
    fault = _armed.get(point)
    if fault is None or next(fault.reached) != fault.on:
        return
    # Unbuffered: a killed process does not flush its buffers.
    os.write(2, f"{FIRED_PREFIX}{point}={fault.action}\n".encode())
    if fault.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise InjectedFault(point)


@contextlib.contextmanager
def fault_site(site: str) -> Iterator[None]:
    """Hits the points directly before and after this block; not the second if the block raises."""
    hit(f"{site}.before")
    yield
    hit(f"{site}.after")
