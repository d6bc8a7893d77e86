"""Processes that deliver webhooks die, fail and freeze, and receivers fail: every event arrives, in order."""

import contextlib
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from tests.chaos.test_faults import WEBHOOK_SITES
from tests.contract.manual_worker import end, run_steps
from tests.factories import make_participants, make_study, make_workspace
from tests.servers import Fleet, Process, wait_until
from tests.webhook_receiver import Received, Receiver, receiver
from understudy.domain.errors import ServiceUnavailable
from understudy.domain.webhooks import EventType
from understudy.faults import FIRED_PREFIX, POINTS
from understudy.settings import Settings
from understudy.store import lifecycle, webhooks
from understudy.store.engine import Store, store_clock
from understudy.store.schema import Tables

SECRET = "whsec_" + "QUJD" * 8
SEED = 7
POINTS_OF_WEBHOOKS = [point for point in POINTS if point.rpartition(".")[0] in WEBHOOK_SITES]
#: Types of events at the end of a participant, which sends exactly one.
ENDS = {str(type_) for type_ in EventType} - {EventType.RUN_FINISHED}


class World:
    """A workspace whose participants end, with receivers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.workspace = make_workspace(store).workspace_id
        self.study, (self.iteration,) = make_study(store, self.workspace)
        #: Participant -> the type of its event.
        self.ended: dict[str, str] = {}
        self.runs = 0

    def webhook(self, url: str) -> None:
        self.store.write(
            lambda c: webhooks.insert_webhook(c, self.workspace, url, [str(type_) for type_ in EventType], SECRET)
        )

    def end_some(self, *statuses: str) -> None:
        """One dispatch, of which each participant ends in its way."""
        ids = make_participants(self.store, self.workspace, self.study, self.iteration, len(statuses))
        self.runs += 1
        for id_, status in zip(ids, statuses, strict=True):
            if status == "cancelled":
                self.store.write(lambda c, id_=id_: lifecycle.cancel(c, self.workspace, [id_]))
            else:
                end(self.store, run_steps(self.store, id_, 1), status)
            self.ended[str(id_)] = f"participant.{status}"

    def end_claims(self) -> None:
        """Lets claims of lost processes lapse, and pauses end, without waiting."""
        lapsed = {"claimed_until": store_clock(-1), "due_at": store_clock(-1)}
        pending = update(Tables.delivery).where(Tables.delivery.c.status == "pending")
        # A frozen process may hold a row; the next call comes soon.
        with contextlib.suppress(ServiceUnavailable):
            self.store.write(lambda connection: connection.execute(pending.values(**lapsed)))

    def has_all(self, accepted: list[Received]) -> bool:
        """Whether a receiver accepted every event."""
        seen = {request.participant for request in accepted if request.message["type"] in ENDS}
        runs = {request.id for request in accepted if request.message["type"] == EventType.RUN_FINISHED}
        return seen == self.ended.keys() and len(runs) == self.runs

    def check(self, accepted: list[Received]) -> None:
        """No event is lost, changed or invented: repeats have the same id, and each participant has one end."""
        ids: dict[str, set[str]] = defaultdict(set)
        for request in accepted:
            message = request.message
            if message["type"] in ENDS:
                assert self.ended[request.participant] == message["type"]
                ids[request.participant].add(request.id)
            else:
                ids[message["data"]["dispatch_id"]].add(request.id)
        assert {len(one) for one in ids.values()} == {1}
        assert len(ids) == len(self.ended) + self.runs


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


@pytest.fixture
def fast(settings: Settings) -> Iterator[Fleet]:
    quick = {"sweep_interval_s": 0.1, "webhook_backoff_s": 0.01, "webhook_networks": "loopback"}
    with Fleet.of(settings.model_copy(update=quick)) as fleet:
        yield fleet


def has_fired(process: Process, fault: str) -> bool:
    return f"{FIRED_PREFIX}{fault}" in process.log.read_text()


@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("point", POINTS_OF_WEBHOOKS)
def test_process_that_dies_or_fails_at_a_fault_point_loses_no_event(
    world: World, fast: Fleet, point: str, action: str
) -> None:
    with receiver() as target:
        world.webhook(target.url)
        (process,) = fast.start("webhooks-1", UNDERSTUDY_FAULTS=f"{point}={action}")
        world.end_some("completed", "failed", "cancelled", "cancelled")
        wait_until(lambda: has_fired(process, f"{point}={action}"), 60, "the point is crossed")
        if action == "kill":
            assert process.popen.wait(30) == -signal.SIGKILL
            fast.start("webhooks-2")

        def all_arrived() -> bool:
            world.end_claims()
            return world.has_all(target.requests)

        wait_until(all_arrived, 60, "all events arrived")
        world.check(target.requests)


@pytest.mark.timeout(180)
def test_every_event_reaches_every_receiver_while_processes_die_and_receivers_fail(world: World, fast: Fleet) -> None:
    rng = random.Random(SEED)
    accepted: dict[str, list[Received]] = defaultdict(list)

    def unreliable(name: str, *failures: int | None) -> Receiver:
        def behave(received: Received) -> int | None:
            if rng.random() < 0.4:
                failure = rng.choice(failures)
                # A slow receiver has the message, but its answer comes late or never.
                time.sleep(0.05 if failure == 200 else 0)
                return None if failure == 200 else failure
            accepted[name].append(received)
            return 200

        return Receiver(behave)

    receivers = {
        "steady": unreliable("steady", 200),
        "refusing": unreliable("refusing", 500, 503, 404),
        "closing": unreliable("closing", None),
        "slow": unreliable("slow", 200),
    }
    down_port = unreliable("down", 500)
    down_port.close()
    for target in receivers.values():
        world.webhook(target.url)
    world.webhook(f"http://127.0.0.1:{down_port.port}/")
    processes = {name: fast.start(name)[0] for name in ("webhooks-1", "webhooks-2")}
    for number in range(8):
        world.end_some(*rng.choices(("completed", "failed", "cancelled"), k=6))
        name = rng.choice(list(processes))
        if number % 2:
            processes[name].popen.send_signal(signal.SIGKILL)
            processes[name].popen.wait(30)
            (processes[name],) = fast.start(name)
        else:
            # Frozen while its claims lapse: it must not send after another process took over.
            os.kill(processes[name].popen.pid, signal.SIGSTOP)
            world.end_claims()
            time.sleep(0.2)
            os.kill(processes[name].popen.pid, signal.SIGCONT)

    def all_arrived() -> bool:
        world.end_claims()
        return all(world.has_all(list(accepted[name])) for name in receivers)

    wait_until(all_arrived, 90, "all events arrived")
    for name in receivers:
        world.check(list(accepted[name]))
    # The receiver that was down all the time gets everything once it is up.
    late: list[Received] = []
    with receiver(lambda received: late.append(received) or 200, port=down_port.port):  # type: ignore[func-returns-value]

        def late_arrived() -> bool:
            world.end_claims()
            return world.has_all(list(late))

        wait_until(late_arrived, 60, "all events arrived late")
        wait_until(lambda: _all_delivered(world), 60, "all deliveries are settled")
    world.check(late)
    for target in receivers.values():
        target.close()


def _all_delivered(world: World) -> bool:
    world.end_claims()
    with world.store.read() as connection:
        statuses = connection.scalars(select(Tables.delivery.c.status).distinct()).all()
    return set(statuses) == {"delivered"}
