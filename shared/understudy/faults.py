"""Points at which a process can be made to die or to fail, for tests of what happens then.

Nothing happens at any of them unless a setting names it: `faults = "extend.commit.after=kill@2"` kills the
process when it gets there for the second time; `=raise` raises InjectedFault instead. One that fires leaves a
line on stderr: `fault fired: extend.commit.after=kill`.
"""

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Where: each has a point right before and one right after it.
FAULT_SITES = (
    "create.commit",
    "run.commit",
    "cancel.commit",
    "extend.commit",
    "run_message.own",
    "run_message.send",
    "run_message.disown",
    "stop_task.send",
    "abort.send",
    "notice.send",
    "lease.commit",
    "claim.commit",
    "step.commit",
    "end.commit",
    "give_back.commit",
    "stop.commit",
    "heartbeat.commit",
    "give_up.commit",
    "recover.commit",
    "record_stops.commit",
    "forget.commit",
    "positions.commit",
)
#: How the line begins that a fault leaves on stderr when it fires.
FIRED_PREFIX = "fault fired: "

POINTS = tuple(f"{place}.{side}" for place in FAULT_SITES for side in ("before", "after"))


class InjectedFault(Exception):
    """Somebody wanted to see what happens."""


@dataclass(frozen=True, slots=True)
class _Fault:
    action: str
    #: Which time the point is reached.
    on: int
    reached: Iterator[int] = field(default_factory=lambda: itertools.count(1))


_armed: dict[str, _Fault] = {}


def parse(faults: str) -> dict[str, _Fault]:
    """The faults that are named. Raises ValueError for a point or an action that does not exist."""
    named = {}
    for fault in filter(None, faults.split(",")):
        point, _, what = fault.partition("=")
        action, _, on = what.partition("@")
        if point not in POINTS or action not in {"kill", "raise"} or not (on or "1").isdecimal():
            raise ValueError(f"no such fault: {fault!r}; points are {', '.join(POINTS)}")
        named[point] = _Fault(action, int(on or 1))
    return named


def arm(faults: str) -> None:
    """Arm what `faults` names, in this process: `POINT=kill|raise[@N]`, several with commas; "" disarms all.

    Raises ValueError for a point or an action that does not exist.
    """
    _armed.clear()
    _armed.update(parse(faults))


def hit(point: str) -> None:
    """Die or fail here, if somebody armed it."""
    fault = _armed.get(point)
    if fault is None or next(fault.reached) != fault.on:
        return
    # Past all buffers: the process may have no time left to empty them.
    os.write(2, f"{FIRED_PREFIX}{point}={fault.action}\n".encode())
    if fault.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise InjectedFault(point)


@contextlib.contextmanager
def fault_site(place: str) -> Iterator[None]:
    """The points right before and right after what is done in this block."""
    hit(f"{place}.before")
    yield
    hit(f"{place}.after")
