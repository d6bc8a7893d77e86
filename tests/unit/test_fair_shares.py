"""The scheduler by itself: shares, order of publication, and whose runs give up their slots."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.domain.fair_shares import MIN_SHARED_WINDOW, MIN_WINDOW, Load, plan, shares, window_size


@pytest.mark.parametrize(
    ("demands", "weights", "slots", "expected"),
    [
        ((1_000,), (1,), 100, (100,)),
        ((1_000, 1_000), (1, 1), 100, (50, 50)),
        ((1_000, 1_000, 1_000), (1, 2, 4), 70, (10, 20, 40)),
        ((1_000, 1), (1, 1), 100, (99, 1)),
        ((1_000, 10, 1_000), (1, 100, 3), 50, (10, 10, 30)),
        ((3, 4), (1, 1), 100, (3, 4)),
        ((1, 1, 1), (1, 1, 2), 1, (0.25, 0.25, 0.5)),
    ],
)
def test_shares_follow_weights_and_leave_nothing_unused(
    demands: tuple[int, ...], weights: tuple[int, ...], slots: int, expected: tuple[float, ...]
) -> None:
    loads = {key: Load(weight=w, unsent=n) for key, (n, w) in enumerate(zip(demands, weights, strict=True))}
    assert shares(loads, slots) == {key: pytest.approx(share) for key, share in enumerate(expected)}


def test_window_grows_with_the_slots() -> None:
    assert (window_size(0), window_size(5_000)) == (MIN_WINDOW, 10_000)
    assert (window_size(0, 2), window_size(5_000, 2)) == (MIN_SHARED_WINDOW, 1_250)


def test_one_workspace_fills_the_window_and_nothing_goes_ahead() -> None:
    planned = plan({"a": Load(running=100, unsent=10_000)}, 100, 10_000)
    assert (planned.ahead, planned.window, planned.preempted) == ({}, ["a"] * MIN_WINDOW, {})


def test_window_takes_workspaces_in_turn_by_weight() -> None:
    loads = {"a": Load(weight=1, running=25, unsent=2_000), "b": Load(weight=3, running=75, unsent=2_000)}
    assert Counter(plan(loads, 100, 400).window) == {"a": 6, "b": 19}
    assert Counter(plan(loads, 100, 40).window[-8:]) == {"a": 2, "b": 6}, "not one after the other"


def test_participant_of_a_second_workspace_gets_a_slot_of_the_first() -> None:
    planned = plan({"a": Load(running=100, waiting=1_000), "b": Load(unsent=1, is_new=True)}, 100, 200)
    assert (planned.ahead, planned.window, planned.preempted) == ({"b": 1}, [], {"a": 1})


@pytest.mark.parametrize(
    ("loads", "slots", "preempted"),
    [
        ({"a": Load(running=99, waiting=500), "b": Load(ahead=1)}, 100, {}),
        ({"a": Load(running=100, yielding=1), "b": Load(ahead=1)}, 100, {}),
        ({"a": Load(running=100), "b": Load(ahead=30)}, 100, {"a": 30}),
        # A fleet whose leases promise slots that nobody gives.
        ({"a": Load(running=60, waiting=500), "b": Load(ahead=5, overdue=5)}, 100, {"a": 5}),
        # The furthest above its share first, compared by weight.
        ({"a": Load(running=40), "b": Load(weight=3, running=60, waiting=90), "c": Load(ahead=5)}, 100, {"a": 5}),
        # Nobody is above its share.
        (
            {"a": Load(running=50, waiting=9), "b": Load(running=50, waiting=9), "c": Load(weight=0.001, ahead=1)},
            100,
            {"a": 1},
        ),
    ],
    ids=["a slot is free", "one yields already", "many", "overdue", "by weight", "fractions"],
)
def test_runs_give_up_slots_only_for_messages_that_need_them(
    loads: dict[str, Load], slots: int, preempted: dict[str, int]
) -> None:
    assert plan(loads, slots, 200).preempted == preempted


@pytest.mark.parametrize(("is_new", "ahead"), [(True, {"b": 1}), (False, {})])
def test_on_a_fleet_with_fewer_slots_than_workspaces_each_starts_once_at_once(
    is_new: bool, ahead: dict[str, int]
) -> None:
    """A run that gave up its only slot waits for the next free one: otherwise both would yield at each interaction."""
    planned = plan({"a": Load(running=1), "b": Load(unsent=1, is_new=is_new)}, 1, 200)
    assert planned.ahead == ahead
    assert planned.preempted == ({"a": 1} if is_new else {})


def test_message_that_waits_behind_those_of_others_is_moved_ahead_only_when_it_is_late() -> None:
    def ahead(late: int) -> object:
        return plan({"a": Load(running=100, waiting=900), "b": Load(waiting=3, late=late)}, 100, 200).ahead

    assert (ahead(0), ahead(2)) == ({}, {"b": 2})


# -- a fleet in simulated time -----------------------------------------------------------------------------

#: Refills within a step.
TICKS_PER_STEP = 10


@dataclass
class SimulatedRun:
    owner: int
    steps_left: int
    ticks_left: int = TICKS_PER_STEP
    yields: bool = False


@dataclass
class Tenant:
    """A workspace of the simulated fleet."""

    weight: float
    #: Steps of each participant that was never started, and of those that gave up their slot.
    unsent: list[int]
    released: list[int] = field(default_factory=list)
    slot_ticks: int = 0
    #: Ticks in a row with work but without a run.
    idle: int = 0
    longest_idle: int = 0


class SimulatedFleet:
    """Slots, messages ahead of a window, and a refill per tick."""

    def __init__(self, tenants: dict[int, Tenant], slots: int, seed: int) -> None:
        self.tenants, self.slots, self.random = tenants, slots, random.Random(seed)
        self.running: list[SimulatedRun] = []
        #: Owner and steps of each message, first in, first out.
        self.window: list[tuple[int, int]] = []
        self.ahead: list[tuple[int, int]] = []

    def tick(self) -> None:
        self.refill()
        self.start()
        running = Counter(run.owner for run in self.running)
        for key, tenant in self.tenants.items():
            tenant.slot_ticks += running[key]
            has_work = tenant.unsent or tenant.released or any(owner == key for owner, _ in self.window + self.ahead)
            tenant.idle = tenant.idle + 1 if has_work and not running[key] else 0
            tenant.longest_idle = max(tenant.longest_idle, tenant.idle)
        for run in tuple(self.running):
            run.ticks_left -= 1
            if run.ticks_left == 0:
                self.end_step(run)
                self.start()

    def end_step(self, run: SimulatedRun) -> None:
        run.steps_left, run.ticks_left = run.steps_left - 1, TICKS_PER_STEP
        if run.steps_left == 0 or run.yields:
            self.running.remove(run)
            if run.steps_left:
                self.tenants[run.owner].released.append(run.steps_left)

    def refill(self) -> None:
        waiting, ahead = Counter(key for key, _ in self.window), Counter(key for key, _ in self.ahead)
        running = Counter(run.owner for run in self.running)
        yielding = Counter(run.owner for run in self.running if run.yields)
        loads = {
            key: Load(
                weight=tenant.weight,
                running=running[key],
                yielding=yielding[key],
                ahead=ahead[key],
                waiting=waiting[key],
                late=waiting[key],
                unsent=len(tenant.unsent) + len(tenant.released),
                is_new=bool(tenant.unsent) and not tenant.released,
            )
            for key, tenant in self.tenants.items()
        }
        planned = plan(loads, self.slots, 10_000)
        for key, count in planned.ahead.items():
            for _ in range(count):
                moved = next((message for message in self.window if message[0] == key), None)
                if moved is not None:
                    self.window.remove(moved)
                self.ahead.append(moved or (key, self.take(key)))
        self.window += [(key, self.take(key)) for key in planned.window]
        for key, count in planned.preempted.items():
            own = [run for run in self.running if run.owner == key and not run.yields]
            assert len(own) >= count
            for run in own[:count]:
                run.yields = True

    def take(self, key: int) -> int:
        tenant = self.tenants[key]
        return tenant.released.pop(0) if tenant.released else tenant.unsent.pop(0)

    def start(self) -> None:
        for queue in (self.ahead, self.window):
            while queue and len(self.running) < self.slots:
                self.running.append(SimulatedRun(*queue.pop(0), self.random.randint(1, TICKS_PER_STEP)))


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.sampled_from([1, 2, 4]), min_size=2, max_size=4),
    slots=st.integers(min_value=8, max_value=60),
    seed=st.integers(min_value=0, max_value=9_999),
)
def test_no_workspace_starves_and_slots_follow_weights_in_any_mix_of_runs(
    weights: list[int], slots: int, seed: int
) -> None:
    rng = random.Random(seed)
    lengths = {key: rng.randint(2, 30) for key in range(len(weights))}
    tenants = {
        key: Tenant(weight, [rng.randint(1, lengths[key]) for _ in range(100 * slots)])
        for key, weight in enumerate(weights)
    }
    fleet = SimulatedFleet(tenants, slots, seed)
    for _ in range(60 * TICKS_PER_STEP):
        fleet.tick()
    total = sum(tenant.slot_ticks for tenant in tenants.values())
    for tenant in tenants.values():
        share = tenant.weight / sum(weights)
        if share * slots >= 1:
            assert tenant.longest_idle <= TICKS_PER_STEP + 1
        # Within a tenth of it, and the slots that are between two runs.
        assert abs(tenant.slot_ticks / total - share) <= 0.1 * share + 1.5 / slots
