"""Fair shares: which workspaces get the next run messages, and whose runs give up their slots for them.

A workspace's share of the slots is its weight over the weights of the workspaces that have work, without what they
cannot use. Run messages wait in a window of the broker. Rows of a workspace below its share go ahead of the window,
to the queue that workers take first. If no slot is free for them, runs of the workspace furthest above its share
give up theirs at their next interaction. Pure: `understudy.store.window` reads the loads and writes the plan.
"""

import heapq
from collections.abc import Hashable, Mapping
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)

#: Slots of a worker whose lease does not tell them, and of a fleet without workers.
UNKNOWN_SLOTS = 100
#: The least size of the window, in run messages, and of a window that several workspaces share: the less waits in it,
#: the closer what runs keeps to the shares.
MIN_WINDOW, MIN_SHARED_WINDOW = 1_000, 20
#: Seconds after which a message of a workspace below its share does not wait any longer in its queue.
LATE_S = 0.5
#: Tolerance of a share, against rounding.
_EPSILON = 1e-9


def window_size(slots: int, workspaces: int = 1) -> int:
    """Returns how many run messages of so many workspaces may wait in the broker at a time."""
    return max(2 * slots, MIN_WINDOW) if workspaces < 2 else max(slots // 4, MIN_SHARED_WINDOW)


class Load(NamedTuple):
    """The participants of a workspace that hold slots, wait for them, or may be published."""

    weight: float = 1
    running: int = 0
    #: Running ones that give up their slot at their next interaction.
    yielding: int = 0
    #: Published to the queue that workers take first.
    ahead: int = 0
    #: Of these, published LATE_S ago.
    overdue: int = 0
    #: Published to the other queues of runs.
    waiting: int = 0
    #: Of these, published LATE_S ago.
    late: int = 0
    #: Unpublished and free to run; a lower bound is enough, from the number of slots on.
    unsent: int = 0
    #: Whether the next one of these has never run.
    is_new: bool = False

    @property
    def demand(self) -> int:
        """Returns how many slots it could use."""
        return self.running + self.ahead + self.waiting + self.unsent

    @property
    def holds(self) -> int:
        """Returns how many slots it has, or gets before others."""
        return self.running + self.ahead


class Plan(NamedTuple, Generic[Key]):
    """The next messages, and the slots to free for them."""

    #: Participants to publish ahead of the window, by workspace.
    ahead: Mapping[Key, int]
    #: Workspaces in the order in which each publishes one more participant to the window.
    window: list[Key]
    #: Runs that must give up their slots, by workspace.
    preempted: Mapping[Key, int]


def shares(loads: Mapping[Key, Load], slots: int) -> dict[Key, float]:
    """Returns the slots that each workspace may hold: by weight, and what one cannot use goes to the others."""
    result: dict[Key, float] = {}
    left, weights = float(slots), sum(load.weight for load in loads.values())
    for key, load in sorted(loads.items(), key=lambda item: item[1].demand / item[1].weight):
        result[key] = min(load.demand, left * load.weight / weights)
        left -= result[key]
        weights -= load.weight
    return result


def plan(loads: Mapping[Key, Load], slots: int, limit: int) -> Plan[Key]:
    """Returns up to `limit` messages to publish now, and the runs that give up slots for them."""
    fair = shares(loads, slots)
    busy = [key for key, load in loads.items() if load.demand]
    ahead: dict[Key, int] = {}
    if len(busy) > 1:
        # Those furthest below their share first, in case that the limit does not suffice for all.
        for key in sorted(busy, key=lambda key: loads[key].holds / loads[key].weight):
            count = min(_missing(loads[key], fair[key]), loads[key].late + loads[key].unsent, limit)
            if count:
                ahead[key] = count
                limit -= count
    return Plan(ahead, _fill_window(loads, ahead, slots, limit), _preempt(loads, ahead, slots))


def _missing(load: Load, share: float) -> int:
    """Returns how many whole slots a workspace is below its share; one that has none may always start one."""
    missing = int(share - load.holds + _EPSILON)
    if missing <= 0 and not load.holds and share > 0 and load.is_new:
        return 1
    return max(missing, 0)


def _fill_window(loads: Mapping[Key, Load], ahead: Mapping[Key, int], slots: int, limit: int) -> list[Key]:
    """Returns the workspaces whose messages fill the window, in turn by weight."""
    published = sum(load.ahead + load.waiting for load in loads.values()) + sum(ahead.values())
    room = min(window_size(slots, sum(load.demand > 0 for load in loads.values())) - published, limit)
    left: dict[Key, int] = {}
    turns: list[tuple[float, int, Key]] = []
    for number, (key, load) in enumerate(loads.items()):
        # Late ones go ahead first, and they are published already.
        from_unsent = max(ahead.get(key, 0) - load.late, 0)
        left[key] = load.unsent - from_unsent
        if left[key] > 0:
            held = load.holds + load.waiting + from_unsent
            turns.append((held / load.weight, number, key))
    heapq.heapify(turns)
    result: list[Key] = []
    while turns and len(result) < room:
        turn, number, key = turns[0]
        result.append(key)
        left[key] -= 1
        if left[key]:
            heapq.heapreplace(turns, (turn + 1 / loads[key].weight, number, key))
        else:
            heapq.heappop(turns)
    return result


def _preempt(loads: Mapping[Key, Load], ahead: Mapping[Key, int], slots: int) -> dict[Key, int]:
    """Returns how many runs of which workspaces give up their slots for the messages ahead of the window."""
    running = sum(load.running for load in loads.values())
    if any(load.overdue for load in loads.values()) and running:
        # The leases promise slots that nobody gives: a worker may be lost, drain, or hold the messages.
        slots = min(slots, running)
    fair = shares(loads, slots)
    wanted = sum(load.ahead for load in loads.values()) + sum(ahead.values())
    lacking = wanted - max(slots - running, 0)
    result: dict[Key, int] = {}
    # The largest first; they are compared by what they keep.
    above: list[tuple[float, int, Key, int]] = []
    for number, (key, load) in enumerate(loads.items()):
        kept = load.running - load.yielding
        if kept > fair[key] + _EPSILON:
            above.append((-kept / load.weight, number, key, kept))
    heapq.heapify(above)
    while above and lacking > 0:
        _, number, key, kept = above[0]
        result[key] = result.get(key, 0) + 1
        lacking -= 1
        if kept - 1 > fair[key] + _EPSILON:
            heapq.heapreplace(above, (-(kept - 1) / loads[key].weight, number, key, kept - 1))
        else:
            heapq.heappop(above)
    return result
